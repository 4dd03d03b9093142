"""The flags that commands share: one for each setting, with its help from the docstring of ``Settings``."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

from cyclopts import Group, Parameter
from docstring_parser import parse

from pyro_vaes.settings import LISTS, Settings

#: Settings by the heading under which the help lists them.
GROUPS = {
    "Data": (
        *("data", "data_root", "kind", "num_bins", "binarize", "center", "logit", "channels", "train_size", "labels"),
    ),
    "Model": (
        *("likelihood", "prior", "network", "batch_norm", "denoise", "latent_dim", "condition_dim", "hidden"),
        "weight_norm",
    ),
    "Guide and loss": ("guide", "loss", "warmup", "cluster_epoch", "start_epochs"),
    "Training": ("epochs", "patience", "batch_size", "lr", "schedule", "optimizer", "clip_norm", "ema"),
    "Reproducibility and speed": ("seed", "device", "step", "precision"),
}
Switch = Annotated[bool, Parameter(negative="", show_default=False)]
COMMON = Group("Of every command", sort_key=len(GROUPS))


def settings_flags(*left_out: str) -> Any:
    """A dataclass of all settings as flags, None where a flag is not given.

    Args:
        left_out: settings that the command does not take.
    """
    types, helps = typing.get_type_hints(Settings), {each.arg_name: each.description for each in _documented()}
    groups = {
        name: Group(title, sort_key=place) for place, (title, names) in enumerate(GROUPS.items()) for name in names
    }
    fields = [
        (
            name,
            Annotated[
                (str if name in LISTS else types[name]) | None,
                Parameter(help=" ".join(helps[name].split()), show_default=False, group=group),
            ],
            dataclasses.field(default=None),
        )
        for name, group in groups.items()
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
