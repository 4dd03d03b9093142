"""Fixtures of tests in several folders."""

from functools import partial

import numpy as np
import pytest

from tests.helpers import ROOT, processes
from tests.helpers.arrays import images


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a small data set beside it."""
    np.savez(tmp_path / "tiny.npz", x_train=images(40, 4, 4), x_test=images(12, 4, 4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_in_processes(tmp_path, monkeypatch):
    """What a function of rank and folder gives in each of two processes, None where it was killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the server that starts them
    return partial(processes.run_in_processes, tmp_path)
