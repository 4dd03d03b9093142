"""The metadata of a release: one version, the lightest install that trains, and no limit on later Pythons."""

import configparser
import os
import re
import subprocess
import sys

import pytest
import yaml

import pyro_vaes as pv
from tests.helpers import ROOT
from tests.helpers.command_line import SMALL


@pytest.fixture(scope="module")
def metadata():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    return settings


def test_the_version_is_from_one_place(metadata):
    assert metadata["metadata"]["version"] == "attr: pyro_vaes.version.__version__"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == pv.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest[1] == pv.__version__


def test_pythons_that_are_declared_are_tested_and_later_ones_allowed(metadata):
    declared = re.findall(r"Python :: (3\.\d+)$", metadata["metadata"]["classifiers"], flags=re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == declared
    assert metadata["options"]["python_requires"] == f">={declared[0]}"
    assert "<" not in metadata["options"]["install_requires"]


@pytest.mark.parametrize("module", ["torchvision", "tensorboard", "zuko", "pytest", "sphinx"])
def test_extras_are_hidden_from_the_lightest_install(module):
    code = "from tests.helpers.required_only import hidden_modules; print(hidden_modules(['torch']))"
    hidden = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
        assert repr(module) in hidden


@pytest.mark.slow
def test_the_lightest_install_trains(tmp_path):
    lightest = [sys.executable, ROOT / "tests" / "helpers" / "required_only.py", ROOT / "setup.cfg"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in (
        ["train", "laplace", "--data", "digits", "--train-size", "200", *SMALL, "--out", "run"],
        ["evaluate", "run", "--num-samples", "5", "--test-size", "5"],
        ["diagnose", "run", "--images", "2", "--num-samples", "5"],
    ):
        done = subprocess.run(
            [*lightest, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "diagnosis.html").exists()
