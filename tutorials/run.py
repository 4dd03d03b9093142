"""Runs tutorials in full and keeps what they print: `python tutorials/run.py [NAMES]`, all of them without names."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
LIMIT = 600  # seconds that a cell may take
MOST_SECONDS = 180  # that a notebook should take, on two quiet cores
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path) -> float:
    """Run a notebook in a temporary folder, write its outputs in place, and give the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources=where, record_timing=False).execute()
    seconds = time.perf_counter() - start
    strip(notebook)
    nbformat.write(notebook, path)
    return seconds


def strip(notebook: nbformat.NotebookNode) -> None:
    """Drop what changes from machine to machine and from run to run."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = nbformat.from_dict({})


def table(seconds: dict[str, float]) -> str:
    """Times of the notebooks in Markdown, with those above the limit marked, and their sum."""
    rows = [f"| {name} | {each:.0f} |{' above' * (each > MOST_SECONDS)}" for name, each in seconds.items()]
    head = [f"| notebook, of at most {MOST_SECONDS} s | seconds |", "| --- | ---: |"]
    return "\n".join([*head, *rows, f"| {len(seconds)} notebooks | {sum(seconds.values()):.0f} |"])


def main(names: list[str]) -> None:
    """Run the named notebooks, or all, and end with a table of their times."""
    os.environ.pop("CI", None)  # in which they would run with tiny budgets
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress"  # tqdm's, where its notebook bars are not installed
    seconds = {}
    for path in [FOLDER / Path(name).name for name in names] or sorted(FOLDER.glob("*.ipynb")):
        seconds[path.stem] = run(path)
        print(f"{path.name}: {seconds[path.stem]:.0f} s", flush=True)
    print(table(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
