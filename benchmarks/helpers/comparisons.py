"""Comparisons of guides by the command line; interrupted ones resume, finished ones are kept."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.helpers.results import Folders
from benchmarks.helpers.trainings import command, two_at_a_time


def compare_all(jobs: Mapping[str, str], folders: Folders) -> None:
    """Run ``pyro_vaes compare`` with the flags of each job, and copy its report into the folder of its name.

    In flags, WORK stands for the folder of trainings.
    """
    data, work = folders.data, folders.work
    work.mkdir(parents=True, exist_ok=True)
    two_at_a_time(lambda name: _compare(name, jobs[name], data, work), jobs)
    for name in jobs:
        _copy_report(work / name, folders.results / name, str(data))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _compare(name: str, flags: str, data: Path, work: Path) -> None:
    out = work / name
    words = [word.replace("WORK", str(work)) for word in flags.split()]
    where = ["--data-root", str(data), "--out", str(out), *(["--resume"] if out.exists() else [])]
    command(["compare", *words, *where], work / f"{name}.log")


def _copy_report(report: Path, to: Path, data: str) -> None:
    """Copy the tables and pictures of a report, and its settings, without the names of local folders.

    Its title then begins with benchmark and set, since many reports stand side by side.
    """
    to.mkdir(parents=True, exist_ok=True)
    for path in report.iterdir():
        if path.suffix in {".csv", ".png"}:
            shutil.copy(path, to)
        elif path.suffix in {".md", ".yaml"}:
            text = path.read_text(encoding="utf-8").replace(data, "DATA").replace(str(report), report.name)
            text = text.replace(str(report.parent), "WORK").replace(
                "# Guides", f"# {to.parent.name}, {to.name}: guides"
            )
            (to / path.name).write_text(text, encoding="utf-8")
