"""The output of a command: lines for a reader, with ``--json`` one value for a program, with ``--quiet`` nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TextIO

from pyro_vaes.settings import PARTS

_quiet = ContextVar("quiet", default=False)


def say(message: str, file: TextIO | None = None) -> None:
    """Print once for all processes that torchrun started, which end alike."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=file or sys.stdout)


def shows_progress() -> bool:
    """Whether a command shows the progress of its work on standard error.

    Example:
        >>> with silenced(quiet=True):
        ...     allowed = shows_progress()
        >>> allowed
        False
    """
    return not _quiet.get()


def shows_bars() -> bool:
    """Whether progress may be a bar, which a log file is not to hold."""
    return shows_progress() and sys.stderr.isatty()


@contextlib.contextmanager
def silenced(lines: bool = False, quiet: bool = False) -> Iterator[None]:
    """Context manager in which nothing is printed on standard output, and if ``quiet`` no progress shown.

    Args:
        lines: whether the lines of a command are left out, in favor of its result.
        quiet: whether its progress is left out too.
    """
    token = _quiet.set(quiet)
    try:
        with contextlib.ExitStack() as stack:
            if lines or quiet:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            yield
    finally:
        _quiet.reset(token)


def as_json(result: Any) -> str:
    """The result of a command as JSON; numbers that are not finite are null, and paths are text.

    Example:
        >>> print(as_json({"elbo": math.nan, "epochs": 3}))
        {
          "elbo": null,
          "epochs": 3
        }
    """
    return json.dumps(_finite(result), indent=2, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as aligned columns under their names; what cannot be printed is replaced, and None stays empty.

    Example:
        >>> print(table([{"run": "a", "state": "finished"}, {"run": "long", "state": None}]))
        run   state
        a     finished
        long
    """
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def command(config: Mapping[str, Any], *words: object) -> str:
    """A command to try next; it names classes ``module:Class`` again, which no file has imported.

    Args:
        config: the ``config.yaml`` of the run that the command is about.
        words: the command and its arguments.

    Example:
        >>> command({"guide": "parts:Own(scale=2)", "prior": "vamp-prior"}, "diagnose", "runs/own")
        "pyro-vaes diagnose runs/own --guide 'parts:Own(scale=2)'"
    """
    own = [word for part in PARTS if ":" in str(config.get(part)) for word in (f"--{part}", config[part])]
    return shlex.join(map(str, ["pyro-vaes", *words, *own]))
