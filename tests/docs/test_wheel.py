"""The wheel in an empty folder, without the clone: the command line, README's ten lines, and tutorial 9."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.helpers.markdown_files import README, blocks

COMMANDS = [
    "recipes",
    "train vae --data digits --epochs 2",
    "evaluate runs/vae-digits --num-samples 50",
    "diagnose runs/vae-digits --images 2 --num-samples 50",
    "train ladder --data coloured-digits --epochs 1",
    "traverse runs/ladder-coloured-digits",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs Python in an empty folder with what the wheel holds, which is not the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", folder / "site", wheel], check=True)
    empty = tmp_path_factory.mktemp("empty")
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "CI": "1", "MPLBACKEND": "Agg"}

    def run(*words):
        found = subprocess.run([sys.executable, *words], cwd=empty, env=environment, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        return found.stdout

    assert str(folder) in run("-c", "import pyro_vaes; print(pyro_vaes.__file__)")
    return run


@pytest.mark.slow
def test_the_command_line(installed):
    for command in COMMANDS:
        assert installed("-m", "pyro_vaes", *command.split())


@pytest.mark.slow
def test_the_ten_lines(installed):
    assert "log p(x) = " in installed("-c", blocks(README, "python")[0])


@pytest.mark.slow
def test_a_prior_of_ones_own_under_every_guide_that_fits_it(installed):
    notebook = json.loads((ROOT / "tutorials" / "09-write-your-own.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))
    assert "Laplace" in installed("-c", code)
