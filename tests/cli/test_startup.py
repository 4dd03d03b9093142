"""Help and lists, which wait for no heavy import, and an error in a process of its own."""

import dataclasses
import re
import subprocess
import sys

import pytest

from pyro_vaes.cli.options import GROUPS
from pyro_vaes.settings import Settings
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
    "command", ["", "train", "compare", "evaluate", "diagnose", "sample", "traverse", "list", "runs"]
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
        "pyro-vaes: unknown recipe 'vea': did you mean 'vae'? Known: af-prior, conditional, full-covariance,"
    )
    assert result.stderr.count("\n") == 1


def test_every_setting_has_a_heading_in_the_help(capsys):
    names = [name for names in GROUPS.values() for name in names]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Settings))
    assert run("train", "--help") == 0
    headings = re.findall(r"^╭─ (.*?) ─+╮$", capsys.readouterr().out, flags=re.MULTILINE)
    assert headings == ["Parameters", *GROUPS, "Of every command"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(tmp_path, capsys, monkeypatch, shell):
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "completion"
    assert run("completion", "--shell", shell, "--output", str(script)) == 0
    text = script.read_text()
    assert all(word in text for word in ("pyro-vaes", "diagnose", "latent-dim", "likelihoods"))
