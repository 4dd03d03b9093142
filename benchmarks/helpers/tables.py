"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]], text: int = 1) -> list[str]:
    """Lines of a table whose first columns, ``text`` in number, are text and whose others are numbers."""
    rule = [*["---"] * text, *["---:"] * (len(header) - text)]
    return [f"| {' | '.join(map(str, line))} |" for line in (header, rule, *rows)]
