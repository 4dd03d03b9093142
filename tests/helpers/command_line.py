"""Commands, and the runs that they leave."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pyro_vaes.cli.app import main

TIMES = {"step_ms", "seconds"}
RUN_FILES = ["checkpoint.pt", "config.yaml", "metrics.jsonl"]
SIZES = ["--hidden", "8", "--latent-dim", "2", "--device", "cpu"]
SMALL = [*SIZES, "--epochs", "1"]


def pixels(n, *shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def run(*arguments):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0


def python(code, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
