"""Trainings by the command line, two at a time; interrupted ones resume, finished ones are kept."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

AT_ONCE = 2

Item = TypeVar("Item")
Found = TypeVar("Found")


def two_at_a_time(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call a function that waits for a process, in two threads."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(function, items))


def in_processes(function: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """What a function gives for each item, in two processes."""
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, items))


def words(flags: str, data: Path) -> list[str]:
    """The arguments of a command, in which DATA stands for the folder of data."""
    return [word.replace("DATA", str(data)) for word in flags.split()]


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
