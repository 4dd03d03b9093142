"""A release in an empty folder, without the clone: command line, README's ten lines, tutorial 9, parts of one's own."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

import pyro_vaes as pv
from tests.helpers import ROOT
from tests.helpers.markdown_files import README, blocks

COMMANDS = [
    "list recipes",
    "train vae --data digits --epochs 2",
    "evaluate runs/vae-digits --num-samples 50",
    "diagnose runs/vae-digits --images 2 --num-samples 50",
    "train ladder --data coloured-digits --epochs 1",
    "traverse runs/ladder-coloured-digits",
    "runs",
]
OWN = """
import pyro.distributions as dist
from pyro_vaes.guides import MeanField
from pyro_vaes.priors import StandardNormal

class Wide(StandardNormal):
    def forward(self):
        return dist.Normal(self.loc, 2.0).to_event(1)

class Narrow(MeanField):
    def family(self, parameters, x):
        base = super().family(parameters, x).base_dist
        return dist.Normal(base.loc, 0.5 * base.scale).to_event(1)
"""
REPOSITORY = "https://example.org/pyro_vaes"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder with the sdist, and the wheel that was built from it, as for PyPI."""
    for tool in ("build", "twine"):
        try:
            importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("release")
    probe = [*PIP, "download", "--quiet", "--no-deps", "--dest", folder / "probe", "setuptools"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no package registry is reached, from which the build takes setuptools")
    build = [sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT]
    environment = {**os.environ, "PYRO_VAES_REPOSITORY": REPOSITORY}
    subprocess.run(build, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(release, tmp_path_factory):
    """Runs Python in an empty folder with what the wheel holds, which is not the clone."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    (wheel,) = release.glob("*.whl")
    subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--target", site, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "CI": "1", "MPLBACKEND": "Agg"}

    def run(*words, program=(sys.executable,)):
        command = [*program, *words]
        found = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        return found.stdout

    run.folder, run.script = empty, (str(site / "bin" / "pyro-vaes"),)
    assert str(site) in run("-c", "import pyro_vaes; print(pyro_vaes.__file__)")
    return run


@pytest.mark.slow
def test_the_files_of_a_release(release):
    (wheel,), (sdist,) = release.glob("*.whl"), release.glob("*.tar.gz")
    check = [sys.executable, "-m", "twine", "check", "--strict", wheel, sdist]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {"pyro_vaes/py.typed", "pyro_vaes/cli/app.py"} <= set(names)
    assert any(name.startswith("pyro_vaes/reports/templates/") for name in names)
    assert all(name.startswith(("pyro_vaes/", "pyro_vaes-")) for name in names)
    with tarfile.open(sdist) as archive:
        assert {"README.md", "LICENSE", "setup.cfg"} <= {name.partition("/")[2] for name in archive.getnames()}
    assert f"Version: {pv.__version__}" in metadata.splitlines()
    assert "Description-Content-Type: text/markdown" in metadata.splitlines()
    assert f"Project-URL: Source, {REPOSITORY}" in metadata.splitlines()
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", metadata, flags=re.DOTALL))
    assert links
    assert [link for link in links if not link.startswith(("https:", "#"))] == []


@pytest.mark.slow
def test_the_command_line(installed):
    for command in COMMANDS:
        assert installed(*command.split(), program=installed.script)


@pytest.mark.slow
def test_a_prior_and_a_guide_of_ones_own_by_name(installed):
    (installed.folder / "my_parts.py").write_text(OWN)
    own = ["--guide", "my_parts:Narrow", "--prior", "my_parts:Wide"]
    printed = installed("train", "vae", "--epochs", "1", *own, "--out", "own", program=installed.script)
    assert "next: pyro-vaes diagnose own --guide my_parts:Narrow --prior my_parts:Wide" in printed
    installed("diagnose", "own", *own, "--images", "2", "--num-samples", "50", program=installed.script)
    installed(
        "compare",
        "--vary",
        "prior=standard-normal,my_parts:Wide",
        "--guides",
        "my_parts:Narrow",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--test-size",
        "5",
        "--diagnose",
        "0",
        program=installed.script,
    )


@pytest.mark.slow
def test_the_ten_lines(installed):
    assert "log p(x) = " in installed("-c", blocks(README, "python")[0])


@pytest.mark.slow
def test_a_prior_of_ones_own_under_every_guide_that_fits_it(installed):
    notebook = json.loads((ROOT / "tutorials" / "09-write-your-own.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))
    assert "Laplace" in installed("-c", code)
