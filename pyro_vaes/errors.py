"""The library's own exceptions."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

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
    near = difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InputError(f"unknown {kind} {shown(name)}:{hint} Known: {', '.join(known)}")
