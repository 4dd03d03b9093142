"""A split: the noise of what it gives, and its device."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Preprocessing, Split
from tests.helpers.arrays import make, pixels


@pytest.mark.parametrize("binarize", [None, "dynamic", "static", "threshold"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_x_is_one_draw(binarize, dtype):
    images = pixels(60, 8, 8) if dtype == "uint8" else pixels(60, 8, 8) / np.float32(255)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data, same = (make(images, binarize=binarize, seed=1) for _ in range(2))
    other = make(images, binarize=binarize, seed=2)
    for part in ("train", "valid", "test"):
        x = getattr(data, part).x
        assert torch.equal(x, getattr(data, part).x)
        assert torch.equal(x, getattr(same, part).x)
        assert 0 <= x.min() <= x.max() <= 1
    noisy = binarize in ("dynamic", "static") or (binarize is None and dtype == "uint8")
    assert torch.equal(data.test.x, other.test.x) != noisy
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_equal_images_get_different_noise_in_each_split():
    x = pixels(20, 8, 8)
    data = make(x, x_test=x, x_valid=x)
    draws = [data.train.x, data.valid.x, data.test.x]
    assert not any(torch.equal(draws[i], draws[j]) for i, j in [(0, 1), (0, 2), (1, 2)])


@pytest.mark.parametrize(("binarize", "fresh"), [(None, True), ("dynamic", True), ("static", False)])
def test_batches_get_fresh_noise_unless_static(binarize, fresh):
    split = make(pixels(60, 8, 8), binarize=binarize).train
    generator = torch.Generator().manual_seed(0)
    batch = split.pixels[:16]
    first, second = (split.preprocess(batch, generator) for _ in range(2))
    assert torch.equal(first, second) != fresh
    if not fresh:
        assert torch.equal(first, split.x[:16])
        assert split.pixels.dtype == torch.uint8
        assert split.pixels.max() == 1
    generator.manual_seed(0)
    assert torch.equal(first, split.preprocess(batch, generator))
    assert split.preprocess(batch).shape == batch.shape


def test_chunks_do_not_show(monkeypatch):
    split = make(pixels(60, 8, 8), binarize="threshold").train
    whole = split.x
    monkeypatch.setattr("pyro_vaes.data.split.CHUNK", 7)
    assert torch.equal(split.x, whole)


def test_to_device():
    split = Split(torch.zeros(4, 2, dtype=torch.uint8), torch.arange(4), Preprocessing(), seed=0)
    moved = split.to("meta")
    assert moved.pixels.device.type == moved.y.device.type == "meta"
    assert split.pixels.device.type == "cpu"
    assert (len(moved), moved.preprocessing, moved.seed) == (4, split.preprocessing, 0)
    assert Split(split.pixels, None, Preprocessing(), 0).to("cpu").y is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_x_is_the_same_on_a_gpu():
    split = make(pixels(60, 8, 8)).train
    moved = split.to("cuda")
    assert torch.equal(moved.x.cpu(), split.x)
    assert moved.preprocess(moved.pixels, torch.Generator("cuda")).is_cuda
