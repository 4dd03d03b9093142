"""Trainings by the command line, two at a time with one thread each; interrupted ones go on, finished ones stay."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 2


def places(description: str | None) -> tuple[Path, Path]:
    """The folders DATA and WORK of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    return arguments.data.resolve(), arguments.work.resolve()


def train_all(jobs: Mapping[str, Sequence[str]], work: Path) -> None:
    """Run ``pyro_vaes train`` with the arguments of each job, into a folder of ``work`` that has the job's name."""
    work.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: command(["train", *jobs[name], *_out(work / name)], work / f"{name}.log"), jobs))


def command(arguments: Sequence[str], log: Path) -> None:
    """Run ``pyro_vaes`` on the CPU with one thread, its output added to a file."""
    whole = [sys.executable, "-m", "pyro_vaes", *arguments, "--device", "cpu"]
    with log.open("a") as file:
        subprocess.run(whole, check=True, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _out(folder: Path) -> list[str]:
    return ["--out", str(folder), *(["--resume"] if (folder / "checkpoint.pt").exists() else [])]
