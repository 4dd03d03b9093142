"""Commands, and the runs that they leave."""

import json
import os
import re
import subprocess
import sys

import pytest

from pyro_vaes.cli.app import main
from tests.helpers.training import timeless

SIZES = ["--hidden", "8", "--latent-dim", "2", "--device", "cpu"]
SMALL = [*SIZES, "--epochs", "1"]


def run(*arguments):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0


def python(code, *arguments):
    """The finished process that ran the code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def metrics(folder):
    """The rows of a run's history but for the times."""
    return timeless(json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())


def refused(command, capsys, words):
    """Check that a command ends with status 2 and a message that these words match."""
    capsys.readouterr()
    status = run(*command)
    output = capsys.readouterr()
    assert status == 2
    assert output.err.startswith("pyro-vaes: ")
    assert len(output.err.splitlines()) <= 4
    assert "Traceback" not in output.err
    assert re.search(words, output.err.replace("\n", " ")), output.err
