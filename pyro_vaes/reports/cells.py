"""Figures as text in the cells of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Columns = dict[str, Callable[[dict[str, Any]], str]]  # title, and the text that it shows of a row's figures

FLAG = "⚠"


def error(value: dict[str, float]) -> str:
    """A mean with its standard error.

    Example:
        >>> error({"mean": -1.5, "stderr": 0.25})
        '-1.50 ± 0.25'
    """
    return f"{value['mean']:.2f} ± {value['stderr']:.2f}"


def number(value: float | None, form: str) -> str:
    """A number in some format; empty if unknown.

    Example:
        >>> number(0.125, ".2f"), number(None, ".2f")
        ('0.12', '')
    """
    return "" if value is None else format(value, form)


def share(value: float | None) -> str:
    """A share in percent; empty if unknown.

    Example:
        >>> share(0.125)
        '12.5 %'
    """
    return "" if value is None else f"{100 * value:.1f} %"


def flagged(text: str, unreliable: float | None) -> str:
    """A figure that depends on log p(x), with a flag where that of some data cannot be trusted.

    Example:
        >>> flagged("-1.50", 0.02), flagged("-1.50", 0.0)
        ('-1.50 ⚠ 2.0 %', '-1.50')
    """
    return f"{text} {FLAG} {share(unreliable)}" if unreliable else text
