"""The command ``python -m benchmarks [NAME] [DATA WORK]``: run one benchmark, or list all of them."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help="a benchmark; without it, list them")
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA", help="folder of data sets, for some benchmarks")
    parser.add_argument("work", nargs="?", type=Path, metavar="WORK", help="folder of trainings, for some benchmarks")
    parser.add_argument("--page", action="store_true", help="only render the page of stored results again")
    given = parser.parse_args(arguments)
    if given.name is None:
        print("\n".join(f"{name:<17}{title(name)}" for name in NAMES))
        return
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch, in this process and those it starts
    os.environ.setdefault("PJRT_NPROC", threads)  # of JAX

    from benchmarks.helpers.results import Folders, measure, render

    if not given.page:
        measure(Folders(given.name, [path.resolve() for path in (given.data, given.work) if path]))
    print(render(given.name))


def title(name: str) -> str:
    """First line of a benchmark's docstring, read without importing it."""
    text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    main()
