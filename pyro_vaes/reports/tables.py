"""Tables in Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_vaes.runs.atomic import write_whole


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, its columns of numbers aligned to the right.

    Args:
        header: titles of the columns.
        rows: cells of each row, one per title.

    Example:
        >>> print(markdown_table(["guide", "ELBO", "Δ"], [["mean-field", "-91.2", ""], ["laplace", "-88.5", "+2.7"]]))
        | guide | ELBO | Δ |
        | --- | ---: | ---: |
        | mean-field | -91.2 |  |
        | laplace | -88.5 | +2.7 |
    """
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---:" if _are_numbers(column[1:]) else "---" for column in zip(header, *cells, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *cells))


def _are_numbers(cells: Iterable[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(re.match(r"[-+±]?\d", cell) for cell in filled)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with a column for each of their names; what a row lacks stays empty.

    Args:
        path: the file; what was there before is replaced whole or not at all.
        rows: values by column.

    Raises:
        InputError: If the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "metrics.csv"
        ...     write_csv(path, [{"epoch": 1}, {"epoch": 2, "kl": 2.5}])
        ...     path.read_text().split()
        ['epoch,kl', '1,', '2,2.5']
    """
    stream = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, stream.getvalue().encode())
