"""Tables of numbers: ``.csv`` and ``.parquet`` files with a header."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pyro_vaes.data.memory import check_memory
from pyro_vaes.data.sources import Source
from pyro_vaes.errors import InputError, shown


def read_table(path: Path) -> Source:
    """The columns of a table as the features of ``x_train``, one example per row.

    Args:
        path: a ``.csv`` file, whose first line names its columns, or a ``.parquet`` file.

    Raises:
        InputError: If the file is no such table, does not fit into memory, or pandas, or for Parquet pyarrow, is not
            installed.
    """
    try:
        import pandas

        read = pandas.read_csv if path.suffix == ".csv" else pandas.read_parquet
        check_memory(path.stat().st_size, f"{str(path)!r} takes", "save fewer rows")
        frame = read(path)
    except ImportError as error:
        needed = "pandas" if path.suffix == ".csv" else "pandas and pyarrow"
        raise InputError(
            f"{str(path)!r} is read by {needed}, of which one is missing ({error}): pip install {needed}"
        ) from error
    except InputError:
        raise
    except Exception as error:  # of parsers, decoders and Arrow
        raise InputError(f"{str(path)!r} cannot be read as a table ({error}): write it again, with a header") from error
    if frame.empty:
        raise InputError(f"{str(path)!r} has no rows of values below its header: it holds no data")
    _check_header(frame, path)
    return Source({"x_train": frame})


def _check_header(frame: Any, path: Path) -> None:
    """Refuse a table whose first line holds values, or whose first column numbers its rows."""
    names = [str(name) for name in frame.columns]
    if names and all(map(_is_number, names)):
        raise InputError(
            f"the first line of {str(path)!r} holds the numbers {shown(', '.join(names))}: write a line with the names "
            "of the columns before it"
        )
    if names and names[0] == "Unnamed: 0":
        raise InputError(
            f"the first column of {str(path)!r} has no name, like an index of rows: leave it out, "
            "frame.to_csv(path, index=False), or name it"
        )


def _is_number(name: str) -> bool:
    with contextlib.suppress(ValueError):
        float(name)
        return True
    return False
