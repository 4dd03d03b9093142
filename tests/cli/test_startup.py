"""Help and lists, which wait for no heavy import, and an error in a process of its own."""

import subprocess
import sys

import pytest

from tests.helpers.command_line import python, run

HELP = """
import sys
from pyro_vaes.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "numpy", "pyro", "sklearn", "matplotlib", "arviz"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "command", ["", "train", "compare", "evaluate", "diagnose", "sample", "traverse", "recipes", "datasets"]
)
def test_help_answers_without_loading_torch(command):
    result = python(HELP, *command.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: pyro-vaes" in result.stdout
    flags = {"train": ["--guide", "--seed", "--lr", "--resume", "--config"], "compare": ["--guides", "--seeds"]}
    assert not [flag for flag in flags.get(command, []) if flag not in result.stdout]


def test_an_error_in_a_real_process():
    result = subprocess.run(
        [sys.executable, "-m", "pyro_vaes", "train", "vea"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "pyro-vaes: unknown recipe 'vea': did you mean 'vae'? Known: af-prior, conditional,"
    )
    assert result.stderr.count("\n") == 1


def test_lists(capsys):
    assert run("recipes") == run("datasets") == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split()[0] for line in lines]
    assert starts[:3] == ["vae", "conditional", "full-covariance"]
    assert {"digits", "mnist", "svhn", "FILE.npz"} <= set(starts)
    assert "Park, Kim, Kim" in next(line for line in lines if line.startswith("laplace"))
