"""Data sets of a local folder, where there is one."""

import os
from pathlib import Path

import pytest

from pyro_vaes.data import load
from tests.helpers import ROOT
from tests.helpers.arrays import needs_torchvision

FOLDER = Path(os.environ.get("PYRO_VAES_DATA", ROOT / "../shared/data"))


def local(name):
    """A file or folder of the local ones; the test is skipped where it is absent."""
    if not (FOLDER / name).exists():
        pytest.skip(f"no {name} in {FOLDER}")
    return FOLDER / name


@needs_torchvision
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx(name, folder):
    data = load(name, root=local(folder).parent, binarize="dynamic")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [58000, 2000, 10000]
    assert data.event_shape == (1, 28, 28)
    assert data.test.x[:100].unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "sizes", "event_shape", "largest"),
    [
        ("omniglot-small", [3703, 411, 726], (1, 28, 28), 255),
        ("omniglot28", [22345, 2000, 8115], (1, 28, 28), 255),
        ("cifar10-20k", [18000, 2000, 5000], (3, 32, 32), 255),
        ("celeba32", [8100, 900, 1000], (3, 32, 32), 255),
        ("binarized-mnist", [50000, 10000, 10000], (1, 28, 28), 1),
        ("caltech101-silhouettes", [4100, 2264, 2307], (1, 28, 28), 1),
    ],
)
def test_npz(name, sizes, event_shape, largest):
    data = load(local(f"{name}.npz"))
    assert [len(s) for s in (data.train, data.valid, data.test)] == sizes
    assert data.event_shape == event_shape
    assert len(data.train.y) == sizes[0]
    assert data.test.pixels.max() == largest


@pytest.mark.parametrize(
    ("name", "sizes", "mean"),
    [("binarized-mnist", [50000, 10000, 10000], 0.1326), ("caltech-101-silhouettes", [4100, 2264, 2307], 0.5390)],
)
def test_binary_sets(name, sizes, mean):
    data = load(name, root=local("binarized-mnist.npz").parent)
    assert [len(s) for s in (data.train, data.valid, data.test)] == sizes
    assert data.test.pixels.unique().tolist() == [0, 1]
    assert float(data.test.pixels.mean()) == pytest.approx(mean, abs=1e-4)


def test_counts():
    data = load(local("pbmc1k-counts.npz"), kind="counts")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [1340, 148, 372]
    assert data.description.endswith("2000; counts, as given")
    assert max(split.x.max() for split in (data.train, data.valid, data.test)) == 627
