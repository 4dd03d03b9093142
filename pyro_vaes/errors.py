"""The library's own exceptions."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

_short = reprlib.Repr()

_short.maxstring = _short.maxother = 100


class InputError(ValueError):
    """Invalid input; the message says what was wrong, what was expected and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class NonFiniteError(ArithmeticError):
    """A value that is not finite in training; the message says where it occurred and what was kept."""


def shown(value: object) -> str:
    """The representation of a value in an error message, shortened to about 100 characters.

    Example:
        >>> shown("laplace"), len(shown("laplace" * 1000))
        ("'laplace'", 100)
    """
    return _short.repr(value)


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a ``name`` that is not among the ``known`` ones, with close matches.

    Example:
        >>> print(unknown("guide", "laplce", ["laplace", "mean-field"]))
        unknown guide 'laplce': did you mean 'laplace'? Known: laplace, mean-field
    """
    known = sorted(known)
    return InputError(f"unknown {kind} {shown(name)}:{near(name, known)} Known: {', '.join(known)}")


def look_up(kind: str, name: str, known: Mapping[str, Value]) -> Value:
    """The value of a ``name`` among the ``known`` ones.

    Raises:
        InputError: If it is not among them, with close matches.

    Example:
        >>> look_up("guide", "laplace", {"laplace": 1, "mean-field": 2})
        1
    """
    if name not in known:
        raise unknown(kind, str(name), known)
    return known[name]


def near(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The question whether one of the ``known`` names was meant, empty if none is as similar as ``cutoff``.

    Example:
        >>> near("update", ["updates", "detach"]), near("x", ["updates"])
        (" did you mean 'updates'?", '')
    """
    close = difflib.get_close_matches(name[:100], known, n=3, cutoff=cutoff)
    return f" did you mean {' or '.join(map(repr, close))}?" if close else ""
