"""Trainings by the command line, two at a time; interrupted ones resume, finished ones are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

AT_ONCE = 2

Item = TypeVar("Item")


def two_at_a_time(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call a function that waits for a process, in two threads."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(function, items))


def train_all(jobs: Mapping[str, Sequence[str]], work: Path) -> None:
    """Run ``pyro_vaes train`` with the arguments of each job, into the folder of ``work`` with the job's name."""
    work.mkdir(parents=True, exist_ok=True)
    two_at_a_time(lambda name: command(["train", *jobs[name], *_out(work / name)], work / f"{name}.log"), jobs)


def training_figures(run: Path) -> dict[str, Any]:
    """Minutes, epochs, validation ELBO and KLs of a training, those of its best epoch."""
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(history, key=lambda row: row["valid_elbo"])
    return {
        "minutes": sum(row["seconds"] for row in history) / 60,
        "epochs": len(history),
        "valid_elbo": best["valid_elbo"],
        "kl": {name.removeprefix("kl_"): value for name, value in best.items() if name.startswith("kl_")},
    }


def command(arguments: Sequence[str], log: Path) -> None:
    """Run ``pyro_vaes`` on the CPU, and append its output to a file."""
    whole = [sys.executable, "-m", "pyro_vaes", *arguments, "--device", "cpu"]
    with log.open("a") as file:
        subprocess.run(whole, check=True, stdout=file, stderr=file)


def _out(folder: Path) -> list[str]:
    return ["--out", str(folder), *(["--resume"] if (folder / "checkpoint.pt").exists() else [])]
