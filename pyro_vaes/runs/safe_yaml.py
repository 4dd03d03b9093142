"""Safe reading of YAML settings from untrusted files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pyro_vaes.errors import InputError, shown

MOST_BYTES = 2**16  # of settings, which take one percent of it


def read_settings(path: Path, advice: str) -> dict[str, Any]:
    """A YAML file's mapping of settings, read by :func:`parse_mapping`.

    Args:
        path: the file.
        advice: the end of an error, which says what to do.

    Raises:
        InputError: If it is missing, or something else.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is no file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): {advice}") from error
    try:
        return parse_mapping(text)
    except ValueError as error:
        raise InputError(f"{path} is no YAML mapping of settings ({error}): {advice}") from error


def parse_mapping(text: bytes | str) -> dict[str, Any]:
    """The mapping in a YAML text; tags that name objects and aliases, which multiply, are refused.

    Raises:
        ValueError: If the text is something else, or longer than ``MOST_BYTES``.

    Example:
        >>> parse_mapping("recipe: vae")
        {'recipe': 'vae'}
    """
    try:
        if len(text) > MOST_BYTES:
            raise ValueError("it is too long")
        content = yaml.load(text if isinstance(text, str) else text.decode(), _Loader)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError(f"it begins as {shown(content)}")
    except Exception as error:  # constructors of tags raise whatever they like
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from error
    return content


class _Loader(yaml.SafeLoader):
    """YAML of plain values, each written once, without numbers that Python would not print."""

    def construct_yaml_int(self, node: Any) -> int:
        value = super().construct_yaml_int(node)
        if value.bit_length() > 64:
            raise ValueError("it has a whole number of more than 64 bits")
        return value

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias")
        return super().compose_node(parent, index)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
