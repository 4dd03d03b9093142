"""Splits: sizes, seeds, and the noise of what they give."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data, Preprocessing, Split
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, numbered, numbers, pixels


class TestSplits:
    @pytest.mark.parametrize(("n", "n_valid"), [(5, 1), (99, 9), (25000, 2000)])
    def test_validation_is_a_tenth_drawn_by_seed(self, n, n_valid):
        data, same, other = (make(numbered(n), seed=seed) for seed in (3, 3, 4))
        train, valid = numbers(data.train), numbers(data.valid)
        assert len(valid) == n_valid
        assert sorted(train + valid) == list(range(n))
        assert train == sorted(train)
        assert numbers(same.valid) == valid
        if n > 5:
            assert numbers(other.valid) != valid
        assert numbers(other.test) == numbers(data.test) == [0, 1, 2, 3, 4]

    def test_validation_given_is_used(self):
        data = make(numbered(50), x_valid=numbered(60)[53:])
        assert numbers(data.train) == list(range(50))
        assert numbers(data.valid) == list(range(53, 60))
        assert numbers(make(numbered(50), x_valid=numbered(3), train_size=20).train) == list(range(20))

    @pytest.mark.parametrize(("train_size", "n_train", "beyond"), [(50, 50, True), (91, 91, True), (92, 83, False)])
    def test_train_size_takes_the_first(self, train_size, n_train, beyond):
        data = make(numbered(100), train_size=train_size)
        train, valid = numbers(data.train), numbers(data.valid)
        assert (len(train), len(valid)) == (n_train, train_size // 10)
        assert not set(train) & set(valid)
        if beyond:
            assert train == list(range(train_size))
            assert min(valid) >= train_size
        else:
            assert sorted(train + valid) == list(range(train_size))

    @pytest.mark.parametrize("train_size", [-1, 0, 1, 2.5, "10", True])
    def test_train_size_that_is_no_size(self, train_size):
        with pytest.raises(InputError, match=r"train_size is .*: give a whole number, 2 or more"):
            make(numbered(100), train_size=train_size)

    def test_train_size_beyond_the_data(self):
        assert len(make(numbered(100), train_size=2).train) == 2
        with pytest.raises(InputError, match="train_size is 101, but there are 100 training images"):
            make(numbered(100), train_size=101)

    def test_a_missing_test_split_is_drawn_by_seed(self):
        data, same = (Data.from_arrays(x_train=numbered(100), seed=3) for _ in range(2))
        assert [len(s) for s in (data.train, data.valid, data.test)] == [81, 9, 10]
        assert sorted(numbers(data.train) + numbers(data.valid) + numbers(data.test)) == list(range(100))
        assert numbers(data.test) == numbers(same.test)
        assert "test split: a tenth of x_train, drawn by seed 3" in data.description
        with pytest.raises(InputError, match="train_size is 91, but there are 90 training images"):
            Data.from_arrays(x_train=numbered(100), train_size=91)

    def test_too_few_images_to_split(self):
        with pytest.raises(InputError, match=r"x_train has 1 of the 2 images .* the valid split"):
            make(numbered(1))
        with pytest.raises(InputError, match=r"x_train has 2 of the 3 images .* the valid and test split"):
            Data.from_arrays(x_train=numbered(2))
        assert len(make(numbered(1), x_valid=numbered(1)).train) == 1

    @pytest.mark.parametrize("seed", [-1, 0.5, "0"])
    def test_seed_that_is_no_seed(self, seed):
        with pytest.raises(InputError, match=r"seed is .*: give a whole number, 0 or more"):
            make(numbered(100), seed=seed)


class TestSplit:
    @pytest.mark.parametrize("binarize", [None, "dynamic", "static", "threshold"])
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_x_is_one_draw(self, binarize, dtype):
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

    def test_equal_images_get_different_noise_in_each_split(self):
        x = pixels(20, 8, 8)
        data = make(x, x_test=x, x_valid=x)
        draws = [data.train.x, data.valid.x, data.test.x]
        assert not any(torch.equal(draws[i], draws[j]) for i, j in [(0, 1), (0, 2), (1, 2)])

    @pytest.mark.parametrize(("binarize", "fresh"), [(None, True), ("dynamic", True), ("static", False)])
    def test_batches_get_fresh_noise_unless_static(self, binarize, fresh):
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

    def test_chunks_do_not_show(self, monkeypatch):
        split = make(pixels(60, 8, 8), binarize="threshold").train
        whole = split.x
        monkeypatch.setattr("pyro_vaes.data.split.CHUNK", 7)
        assert torch.equal(split.x, whole)

    def test_to_device(self):
        split = Split(torch.zeros(4, 2, dtype=torch.uint8), torch.arange(4), Preprocessing(), seed=0)
        moved = split.to("meta")
        assert moved.pixels.device.type == moved.y.device.type == "meta"
        assert split.pixels.device.type == "cpu"
        assert (len(moved), moved.preprocessing, moved.seed) == (4, split.preprocessing, 0)
        assert Split(split.pixels, None, Preprocessing(), 0).to("cpu").y is None

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    def test_x_is_the_same_on_a_gpu(self):
        split = make(pixels(60, 8, 8)).train
        moved = split.to("cuda")
        assert torch.equal(moved.x.cpu(), split.x)
        assert moved.preprocess(moved.pixels, torch.Generator("cuda")).is_cuda
