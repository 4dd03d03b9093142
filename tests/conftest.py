"""Fixtures of tests in several folders."""

import numpy as np
import pytest

from tests.helpers.command_line import pixels


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a small data set beside it."""
    np.savez(tmp_path / "tiny.npz", x_train=pixels(40, 4, 4), x_test=pixels(12, 4, 4))
    monkeypatch.chdir(tmp_path)
    return tmp_path
