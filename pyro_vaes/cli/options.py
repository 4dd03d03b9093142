"""The flags that commands share: one for each setting, with its help from the docstring of ``Settings``."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

from cyclopts import Parameter
from docstring_parser import parse

from pyro_vaes.settings import LISTS, Settings

Switch = Annotated[bool, Parameter(negative="")]


def settings_flags(*left_out: str) -> Any:
    """A dataclass of all settings as flags, None where a flag is not given.

    Args:
        left_out: settings that the command does not take.
    """
    types, helps = typing.get_type_hints(Settings), {each.arg_name: each.description for each in _documented()}
    fields = [
        (
            name,
            Annotated[(str if name in LISTS else kind) | None, Parameter(help=helps[name], show_default=False)],
            dataclasses.field(default=None),
        )
        for name, kind in types.items()
        if name not in left_out
    ]
    flags = dataclasses.make_dataclass("Flags", fields, frozen=True, kw_only=True, namespace={"__module__": __name__})
    return Parameter(name="*")(flags)


def _documented() -> list[Any]:
    return parse(Settings.__doc__ or "").params


def given(flags: Any) -> dict[str, Any]:
    """The settings that the command line gives.

    Example:
        >>> given(settings_flags()(lr=0.1)), given(None)
        ({'lr': 0.1}, {})
    """
    return {} if flags is None else {name: value for name, value in vars(flags).items() if value is not None}
