"""Data sets by name or file: the embedded digits, .npz archives, local copies."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from pyro_vaes.data import datasets, load
from pyro_vaes.errors import InputError
from tests.helpers.arrays import pixels


class TestDigits:
    def test_sizes_and_levels(self):
        data = load("digits")
        assert [len(s) for s in (data.train, data.valid, data.test)] == [1294, 143, 360]
        assert data.event_shape == (1, 8, 8)
        assert (data.name, data.train.preprocessing.num_bins) == ("digits", 17)
        assert data.description == (
            "digits: 1294 train, 143 valid, 360 test, 1x8x8; dequantized with uniform noise (17 bins)"
        )
        assert data.train.pixels.max() == 16

    def test_the_test_split_is_fixed_and_stratified(self):
        first, second = load("digits", seed=0), load("digits", seed=1, train_size=100)
        assert torch.equal(first.test.pixels, second.test.pixels)
        assert not torch.equal(first.valid.pixels, second.valid.pixels)
        assert set(torch.bincount(first.test.y).tolist()) <= {35, 36, 37}
        assert len(second.train) == 100

    def test_options_reach_the_splits(self):
        assert load("digits", binarize="threshold").test.x.unique().tolist() == [0, 1]
        assert torch.equal(load("digits", dequantize=False).test.x, load("digits").test.pixels / 16)

    def test_bad_input_comes_first(self, tmp_path):
        with pytest.raises(InputError, match="unknown data set 'mnits': did you mean 'mnist'"):
            load("mnits")
        with pytest.raises(InputError, match="unknown binarization"):
            load("mnist", binarize="otsu")
        (tmp_path / "file").touch()
        for root in (tmp_path / "absent", tmp_path / "file"):
            with pytest.raises(InputError, match=r"the data root .* is not a folder"):
                load("mnist", root=root)

    def test_every_name_has_a_line(self):
        gray = {"digits", "mnist", "fashion-mnist", "omniglot", "binarized-mnist", "caltech-101-silhouettes"}
        assert set(datasets) == gray | {"svhn", "cifar10", "coloured-digits", "coloured-mnist"}
        assert all(line and "\n" not in line for line in datasets.values())


class TestNpz:
    def test_loads(self, tmp_path):
        arrays = {f"x_{part}": pixels(n, 8, 8, 3) for part, n in [("train", 30), ("valid", 4), ("test", 6)]}
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays, y_test=np.arange(6), names=np.array(["a", "b"]))
        for given in (path, str(path)):
            data = load(given)
            assert (data.name, data.event_shape) == ("mine", (3, 8, 8))
            assert [len(s) for s in (data.train, data.valid, data.test)] == [30, 4, 6]
            assert data.test.y.tolist() == list(range(6))
            assert data.train.y is None

    def test_channels(self, tmp_path):
        np.savez(tmp_path / "open.npz", x_train=pixels(30, 3, 5, 3))
        with pytest.raises(InputError, match="say channels"):
            load(tmp_path / "open.npz")
        assert load(tmp_path / "open.npz", channels="last").event_shape == (3, 3, 5)

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"there is no file '.*absent\.npz'"):
            load(tmp_path / "absent.npz")

    @pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1])])
    def test_no_archive(self, tmp_path, content):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match="is not an npz archive"):
            load(tmp_path / "bad.npz")

    def test_cut_off_or_damaged(self, tmp_path):
        path = tmp_path / "bad.npz"
        np.savez_compressed(path, x_train=pixels(30, 8, 8))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="is not an npz archive, or is truncated"):
            load(path)
        path.write_bytes(whole[:300] + bytes(100) + whole[400:])
        with pytest.raises(InputError, match="is damaged"):
            load(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00")
        with pytest.raises(InputError, match="is damaged"):
            load(path)

    def test_pickled(self, tmp_path):
        ragged = np.empty(2, dtype=object)
        ragged[:] = [np.zeros(2), np.zeros(3)]
        np.savez(tmp_path / "bad.npz", x_train=ragged)
        with pytest.raises(InputError, match=r"pickled objects.*images of several sizes"):
            load(tmp_path / "bad.npz")

    def test_without_x_train(self, tmp_path):
        np.savez(tmp_path / "bad.npz", images=np.zeros(3), labels=np.zeros(3))
        with pytest.raises(InputError, match="has no x_train: it holds images, labels: write it with"):
            load(tmp_path / "bad.npz")

    @pytest.mark.parametrize("shape", [(30, 2, 8, 8), (30, 8, 8, 2), (30, 5, 8, 8)])
    def test_any_number_of_channels(self, tmp_path, shape):
        np.savez(tmp_path / "two.npz", x_train=pixels(*shape))
        assert load(tmp_path / "two.npz").event_shape == (min(shape), 8, 8)

    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (np.float64(3), r"x_train has shape \(\): give vectors"),
            (np.zeros((0, 4)), "x_train is empty"),
            (np.array(["a"] * 5)[:, None], "x_train has type <U1: give uint8"),
            (np.full((30, 4), 300), r"x_train\[0, 0\] is 300: integer pixels must lie in 0..255: scale them"),
            (np.full((30, 4), -0.5), r"x_train\[0, 0\] is -0.5: .*scale other values to \[0, 1\]"),
            (np.zeros(30, [("a", "f4"), ("b", "f4")]), "structured array with the fields a, b: .*to_unstructured"),
        ],
    )
    def test_wrong_arrays(self, tmp_path, x, words):
        np.savez(tmp_path / "bad.npz", x_train=x)
        with pytest.raises(InputError, match=words):
            load(tmp_path / "bad.npz")


class TestOtherThings:
    @pytest.mark.parametrize("name", ["images.txt", "images.h5", "folder/images.png"])
    def test_other_files(self, name):
        with pytest.raises(InputError, match=r"is none of the files that are read, \.npz, .*numpy\.savez"):
            load(name)

    @pytest.mark.parametrize("values", [np.zeros((30, 4)), torch.zeros(30, 4), None, load("digits")])
    def test_arrays_are_given_to_another_function(self, values):
        with pytest.raises(InputError, match=rf"data is a {type(values).__name__}: .*Data\.from_arrays"):
            load(values)
