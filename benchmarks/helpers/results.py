"""One form of results: ``results.json`` holds all figures of a benchmark, and ``README.md`` is rendered from it."""

from __future__ import annotations

import datetime
import importlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyro
import torch

import pyro_vaes

RESULTS = Path(__file__).parents[1] / "results"
FIGURES, PAGE = "results.json", "README.md"

Row = dict[str, Any]


@dataclass(frozen=True)
class Folders:
    """Folders that a benchmark reads from and writes to.

    Args:
        name: the benchmark.
        arguments: DATA and WORK of the command line, as far as they were given.
    """

    name: str
    arguments: Sequence[Path] = ()

    @property
    def results(self) -> Path:
        """Folder of its results, pictures included."""
        return RESULTS / self.name

    @property
    def data(self) -> Path:
        """Folder of data sets."""
        return self._argument(0)

    @property
    def work(self) -> Path:
        """Folder of trainings, from which an interrupted benchmark resumes."""
        return self._argument(1)

    @property
    def command(self) -> str:
        """The command that runs the benchmark."""
        return " ".join(["python -m benchmarks", self.name, *("DATA", "WORK")[: len(self.arguments)]])

    def _argument(self, place: int) -> Path:
        if len(self.arguments) <= place:
            raise SystemExit(f"{self.name} takes folders: python -m benchmarks {self.name} DATA WORK")
        return self.arguments[place]


def measure(folders: Folders) -> None:
    """Run a benchmark and store its rows, with command, date and environment."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    folders.results.mkdir(parents=True, exist_ok=True)
    rows = _module(folders.name).run(folders)
    record = {"command": folders.command, "date": date, "environment": environment(), "rows": rows}
    (folders.results / FIGURES).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def render(name: str) -> str:
    """Write the page of stored results, and return it."""
    text = page(name)
    (RESULTS / name / PAGE).write_text(text, encoding="utf-8")
    return text


def page(name: str) -> str:
    """The page of stored results: title and text from the benchmark's docstring, its tables, and their origin."""
    module, record = _module(name), read_record(name)
    title, _, text = (module.__doc__ or "").replace("``", "`").partition("\n")
    where = ", ".join(f"{key} {value}" for key, value in record["environment"].items())
    origin = f"`{record['command']}`, {record['date']}: {where}."
    parts = [f"# {title.rstrip('.')}", text.strip(), "\n".join(module.page(record["rows"])), origin, record.get("note")]
    return "\n\n".join(part for part in parts if part) + "\n"


def read_record(name: str) -> dict[str, Any]:
    """The stored results of a benchmark: command, date, environment and rows."""
    record: dict[str, Any] = json.loads((RESULTS / name / FIGURES).read_text(encoding="utf-8"))
    return record


def environment() -> dict[str, Any]:
    """Processor, threads and versions."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "pyro_vaes": pyro_vaes.__version__,
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Name of the GPU if there is one, else of the CPU with its number of cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if platform.system() == "Linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")
