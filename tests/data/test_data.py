"""Data: what is accepted, what is refused and with which words, splits, preparation, sources."""

import builtins
import os
import pickle
import subprocess
import sys
import types
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vaes.data import Data, Preprocessing, Split, datasets, load
from pyro_vaes.errors import InputError
from tests.helpers import ROOT

SHARED = Path(os.environ.get("PYRO_VAES_DATA", ROOT / "../shared/data"))

try:
    import torchvision.datasets  # noqa: F401
except Exception as error:
    torchvision_missing = f"torchvision cannot be imported: {error}"
else:
    torchvision_missing = ""
needs_torchvision = pytest.mark.skipif(bool(torchvision_missing), reason=torchvision_missing)
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no local data in {SHARED}")


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def numbered(n):
    """Images whose first two pixels spell their number."""
    x = np.zeros((n, 2, 2), dtype=np.uint8)
    x[:, 0, 0], x[:, 0, 1], x[:, 1, 1] = np.arange(n) // 256, np.arange(n) % 256, 255
    return x


def numbers(split):
    return [int(a) * 256 + int(b) for a, b in split.pixels[:, 0, 0, :]]


def make(x_train, x_test=None, **options):
    return Data.from_arrays(x_train=x_train, x_test=x_train[:5] if x_test is None else x_test, **options)


class TestShapes:
    @pytest.mark.parametrize(
        ("shape", "event_shape"),
        [
            ((20, 7), (7,)),
            ((20, 8, 6), (1, 8, 6)),
            ((20, 1, 8, 6), (1, 8, 6)),
            ((20, 3, 8, 6), (3, 8, 6)),
            ((20, 8, 6, 3), (3, 8, 6)),
            ((20, 8, 6, 4), (4, 8, 6)),
        ],
    )
    @pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
    def test_every_layout_is_stored_channels_first(self, shape, event_shape, kind):
        x = pixels(*shape)
        data = make(kind(x))
        assert data.event_shape == event_shape
        expected = np.moveaxis(x, -1, 1) if len(shape) == 4 and shape[1] == 8 else x.reshape(20, *event_shape)
        assert np.array_equal(data.test.pixels.numpy(), expected[:5])
        for split in (data.train, data.valid, data.test):
            assert split.pixels.is_contiguous()
            assert split.pixels.dtype == torch.uint8
            assert split.x.shape == (len(split), *event_shape)
            assert split.x.dtype == torch.float32

    @pytest.mark.parametrize("shape", [(20, 3, 5, 4), (20, 2, 8, 8), (20, 1, 1, 1)])
    def test_an_open_layout_asks_for_channels(self, shape):
        with pytest.raises(InputError, match=r'x_train has shape .* say channels="first" or channels="last"'):
            make(pixels(*shape))
        assert make(pixels(*shape), channels="first").event_shape == shape[1:]
        assert make(pixels(*shape), channels="last").event_shape == (shape[3], shape[1], shape[2])

    @pytest.mark.parametrize("shape", [(), (20,), (20, 1, 2, 3, 4)])
    def test_other_numbers_of_axes(self, shape):
        with pytest.raises(InputError, match=r"x_train has shape .*: give vectors \(N, D\)"):
            Data.from_arrays(x_train=np.zeros(shape))

    def test_the_arrays_given_are_not_shared(self):
        x = numbered(20)
        data = make(x)
        x[:] = 7
        assert numbers(data.test) == [0, 1, 2, 3, 4]


class TestPixels:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
    def test_floats_become_float32(self, dtype):
        x = np.linspace(0, 1, 20 * 4).reshape(20, 4).astype(dtype)
        data = make(x)
        assert data.test.pixels.dtype == torch.float32
        assert torch.equal(data.test.x, torch.from_numpy(x[:5].astype(np.float32)))
        assert data.description.endswith("float data as given")

    def test_bfloat16_and_tensors_with_gradient(self):
        data = make(torch.rand(20, 4, requires_grad=True).bfloat16())
        assert data.test.pixels.dtype == torch.float32
        assert not data.test.pixels.requires_grad

    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
    def test_binary_data_are_floats(self, dtype):
        x = (pixels(20, 4, 4) > 99).astype(dtype)
        data = make(x)
        assert data.test.pixels.dtype == torch.float32
        assert np.array_equal(data.test.x[:, 0].numpy(), x[:5])

    @pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16])
    def test_other_integers_become_uint8(self, dtype):
        x = np.arange(80).reshape(20, 4).astype(dtype)
        data = make(x)
        assert data.test.pixels.dtype == torch.uint8
        assert np.array_equal(data.test.pixels.numpy(), x[:5])

    @pytest.mark.parametrize(
        ("value", "dtype"),
        [
            (-1, np.int64),
            (256, np.int64),
            (1.5, np.float64),
            (-0.1, np.float32),
            (np.nan, np.float32),
            (np.inf, np.float64),
            (1e300, np.float64),
        ],
    )
    def test_the_first_bad_value_is_named(self, value, dtype):
        x = np.zeros((20, 6, 6, 3), dtype=dtype)
        x[2, 1, 5, 2] = x[3] = value
        with pytest.raises(InputError) as caught:
            make(np.zeros_like(x), x_test=x)
        assert f"x_test[2, 1, 5, 2] is {np.asarray(value, dtype)}" in str(caught.value)
        advice = "0..255" if dtype == np.int64 else "divide pixels of 0..255 by 255"
        assert advice in str(caught.value)

    @pytest.mark.parametrize("x", [np.array([["a", "b"]]), np.ones((2, 2), complex)])
    def test_other_types(self, x):
        with pytest.raises(InputError, match=r"x_train has type .*: give uint8, or floats in \[0, 1\]"):
            Data.from_arrays(x_train=x)

    def test_images_of_two_sizes(self):
        ragged = np.empty(2, dtype=object)
        ragged[0], ragged[1] = np.zeros((2, 2)), np.zeros((3, 3))
        for x in (ragged, [[[0, 1]], [[0, 1, 2]]]):
            with pytest.raises(InputError, match=r"x_train is not a regular array.*images of several sizes"):
                Data.from_arrays(x_train=x)

    @pytest.mark.parametrize("shape", [(0, 8, 8), (20, 0, 8)])
    def test_empty_sets(self, shape):
        with pytest.raises(InputError, match="x_test is empty"):
            make(pixels(20, 8, 8), x_test=np.zeros(shape, np.uint8))

    def test_parts_must_agree(self):
        with pytest.raises(InputError, match="images of x_train are 1x8x8 and of x_test 1x9x9"):
            make(pixels(20, 8, 8), x_test=pixels(20, 9, 9))
        with pytest.raises(InputError, match="x_train is uint8 and x_valid is float32"):
            make(pixels(20, 8, 8), x_valid=np.zeros((3, 8, 8)))
        with pytest.raises(InputError, match="num_bins is 17, but pixels go up to 17: give at least 18"):
            make(np.full((20, 2, 2), 17, np.uint8), num_bins=17)
        with pytest.raises(InputError, match="num_bins is 1, but pixels go up to 0: give at least 2"):
            make(np.zeros((20, 2, 2), np.uint8), num_bins=1)


class TestLabels:
    @pytest.mark.parametrize("shape", [(20,), (20, 3)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
    def test_labels_follow_their_images(self, shape, dtype):
        y = np.broadcast_to(np.arange(20)[:, None], (20, 3)).reshape(shape + (3,) * (len(shape) == 1))
        y = (y[:, 0] if len(shape) == 1 else y).astype(dtype)
        data = make(numbered(20), y_train=y, y_test=y[:5])
        for split in (data.train, data.valid, data.test):
            assert split.y.dtype == torch.long
            assert np.array_equal(split.y.numpy(), y[numbers(split)])

    def test_labels_are_optional(self):
        data = make(numbered(20), y_train=torch.arange(20))
        assert data.test.y is None
        assert data.train.y.tolist() == numbers(data.train)

    def test_labels_that_do_not_fit(self):
        x = pixels(20, 8, 8)
        with pytest.raises(InputError, match="y_train has 19 labels for the 20 images of x_train"):
            make(x, y_train=np.zeros(19, int))
        with pytest.raises(InputError, match="y_test has 6 labels for the 5 images of x_test"):
            make(x, y_test=np.zeros(6, int))
        for y in (np.zeros(20), np.zeros((20, 1, 1), int), np.array(["a"] * 20)):
            with pytest.raises(InputError, match=r"y_train has type .*labels are integers"):
                make(x, y_train=y)
        with pytest.raises(InputError, match="y_valid was given without x_valid"):
            make(x, y_valid=np.zeros(20, int))


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


class TestPreparation:
    raw = torch.arange(17, dtype=torch.uint8).expand(4000, 17)

    def test_dequantised(self):
        x = Preprocessing(num_bins=17)(self.raw, torch.Generator().manual_seed(0))
        noise = x * 17 - self.raw
        assert noise.min() > -1e-5
        assert noise.max() < 1
        # mean of n uniforms: standard error 1 / sqrt(12 n), n = 68,000; 4 of them
        assert abs(noise.mean() - 0.5) < 4 / (12 * noise.numel()) ** 0.5
        assert abs(noise.var() - 1 / 12) < 0.002

    def test_dequantised_white_stays_below_one(self):
        x = Preprocessing()(torch.full((2**20,), 255, dtype=torch.uint8), torch.Generator().manual_seed(0))
        assert x.max() < 1
        assert (x * 256).floor().unique().tolist() == [255]

    def test_scaled(self):
        x = Preprocessing(dequantize=False, num_bins=17)(self.raw)
        assert torch.equal(x[0], torch.arange(17) / 16)

    def test_dynamic(self):
        generator = torch.Generator().manual_seed(0)
        preprocess = Preprocessing("dynamic", num_bins=17)
        x = preprocess(self.raw, generator)
        assert set(x.unique().tolist()) == {0, 1}
        p = torch.arange(17) / 16
        assert ((x.mean(0) - p).abs() <= 4 * (p * (1 - p) / 4000).sqrt()).all()  # 4 standard errors
        assert not torch.equal(x, preprocess(self.raw, generator))

    def test_threshold(self):
        assert Preprocessing("threshold", num_bins=17)(self.raw)[0].tolist() == [0.0] * 8 + [1.0] * 9
        assert Preprocessing("threshold")(torch.tensor([127, 128], dtype=torch.uint8)).tolist() == [0, 1]

    def test_float_pixels_are_probabilities(self):
        p = torch.tensor([0, 0.25, 0.5, 1]).expand(4000, 4)
        assert torch.equal(Preprocessing(num_bins=None)(p), p)
        assert torch.equal(Preprocessing()(p), p)
        assert Preprocessing("threshold")(p)[0].tolist() == [0, 0, 1, 1]
        mean = Preprocessing("dynamic")(p, torch.Generator().manual_seed(0)).mean(0)
        assert ((mean - p[0]).abs() <= 4 * (p[0] * (1 - p[0]) / 4000).sqrt()).all()

    def test_unknown(self):
        with pytest.raises(InputError, match=r"unknown binarization 'dinamic': did you mean 'dynamic'\?"):
            Preprocessing("dinamic")
        with pytest.raises(InputError, match="unknown binarization"):
            make(pixels(20, 8, 8), binarize="otsu")
        with pytest.raises(InputError, match="unknown channels 'frist'"):
            make(pixels(20, 8, 8), channels="frist")

    def test_every_preparation_describes_itself(self):
        every = [Preprocessing(b) for b in (None, "dynamic", "static", "threshold")]
        every += [Preprocessing(dequantize=False), Preprocessing(num_bins=None)]
        assert len({p.describe() for p in every}) == len(every)


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
        grey = {"digits", "mnist", "fashion-mnist", "omniglot"}
        assert set(datasets) == grey | {"svhn", "cifar10", "coloured-digits", "coloured-mnist"}
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
        with pytest.raises(InputError, match="has no x_train: it holds images, labels"):
            load(tmp_path / "bad.npz")


def fake_torchvision(monkeypatch, **classes):
    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(**classes)
    monkeypatch.setitem(sys.modules, "torchvision", module)


class FakeMNIST:
    """Absent until it is downloaded."""

    downloads = 0

    def __init__(self, root, train, download):
        self.data, self.targets = torch.full((30, 4, 4), 9, dtype=torch.uint8), torch.arange(30)
        if download:
            type(self).downloads += 1
            (Path(root) / "here").touch()
        if not (Path(root) / "here").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")


class FakeOmniglot(list):
    def __init__(self, root, background, download):
        image = Image.new("L", (105, 105), 255)
        image.paste(0, (0, 0, 45, 45))
        super().__init__((image, i) for i in range(12 if background else 5))


class TestTorchvision:
    def test_importing_the_data_module_leaves_it_alone(self):
        code = "import sys, pyro_vaes.data; assert not {'torchvision', 'sklearn', 'PIL'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    @pytest.mark.parametrize(
        "error",
        [
            ImportError("undefined symbol: _ZN3c10"),
            OSError("libcudart.so.12: cannot open shared object file"),
            RuntimeError("operator torchvision::nms does not exist"),
            AttributeError("partially initialized module 'torchvision' has no attribute 'extension'"),
        ],
    )
    def test_torchvision_that_does_not_load(self, monkeypatch, error):
        real = builtins.__import__

        def broken(name, *args, **kwargs):
            if name.startswith("torchvision"):
                raise error
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", broken)
        monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
        with pytest.raises(InputError) as caught:
            load("mnist")
        message = str(caught.value)
        assert f"torchvision 0.1 does not match the installed torch {torch.__version__}" in message
        assert str(error) in message
        assert "pip install 'pyro_vaes[vision]'" in message

    def test_torchvision_missing(self, monkeypatch):
        def absent(name):
            raise PackageNotFoundError(name)

        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.setattr("importlib.metadata.version", absent)
        with pytest.raises(InputError, match=r"torchvision is not installed for torch .*pip install 'pyro_vaes"):
            load("cifar10")

    def test_downloads_only_what_is_absent(self, monkeypatch, tmp_path):
        fake_torchvision(monkeypatch, MNIST=FakeMNIST)
        monkeypatch.setattr(FakeMNIST, "downloads", 0)
        monkeypatch.setattr("pyro_vaes.data.sources.CACHE", tmp_path / "new" / "cache")
        assert len(load("mnist").test) == 30
        assert FakeMNIST.downloads == 2
        data = load("mnist", root=tmp_path / "new" / "cache")
        assert FakeMNIST.downloads == 2
        assert data.description == (
            "mnist: 27 train, 3 valid, 30 test, 1x4x4; dequantized with uniform noise (256 bins)"
        )

    def test_download_that_fails(self, monkeypatch, tmp_path):
        def offline(root, train, download):
            raise OSError("no route to host") if download else RuntimeError("Dataset not found.")

        fake_torchvision(monkeypatch, CIFAR10=offline)
        with pytest.raises(
            InputError, match=r"cifar10 is missing or incomplete at .*cifar-10-batches-py.*no route to host.*as root"
        ):
            load("cifar10", root=tmp_path)

    def test_svhn_and_cifar10(self, monkeypatch, tmp_path):
        x = pixels(30, 32, 32, 3)
        cifar = types.SimpleNamespace(data=x, targets=list(range(30)))
        svhn = types.SimpleNamespace(data=np.moveaxis(x, -1, 1), labels=np.arange(30))
        fake_torchvision(monkeypatch, CIFAR10=lambda *_, **__: cifar, SVHN=lambda *_, **__: svhn)
        for name in ("cifar10", "svhn"):
            data = load(name, root=tmp_path)
            assert np.array_equal(data.test.pixels.numpy(), np.moveaxis(x, -1, 1))
            assert data.test.y.tolist() == list(range(30))

    def test_omniglot_is_shrunk_and_inverted(self, monkeypatch, tmp_path):
        fake_torchvision(monkeypatch, Omniglot=FakeOmniglot)
        data = load("omniglot", root=tmp_path)
        assert data.event_shape == (1, 28, 28)
        assert (data.test.pixels[:, :, :12, :12] == 255).all()
        assert data.test.pixels.float().mean() / 255 == pytest.approx((45 / 105) ** 2, rel=1e-3)
        assert data.test.y.tolist() == [12, 13, 14, 15, 16]
        assert data.description.endswith("not the 24,345 / 8,070 split of the literature")


def write_idx(folder, train=20, test=10):
    folder.mkdir(parents=True)
    for half, n in [("train", train), ("t10k", test)]:
        head = b"\x00\x00\x08\x03" + b"".join(k.to_bytes(4, "big") for k in (n, 28, 28))
        (folder / f"{half}-images-idx3-ubyte").write_bytes(head + pixels(n, 28, 28).tobytes())
        labels = b"\x00\x00\x08\x01" + n.to_bytes(4, "big") + bytes(i % 10 for i in range(n))
        (folder / f"{half}-labels-idx1-ubyte").write_bytes(labels)


@needs_torchvision
class TestIdxFiles:
    @pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
    def test_reads_what_is_there(self, tmp_path, name, folder):
        write_idx(tmp_path / folder / "raw")
        data = load(name, root=tmp_path)
        assert [len(s) for s in (data.train, data.valid, data.test)] == [18, 2, 10]
        assert np.array_equal(data.test.pixels[:, 0].numpy(), pixels(10, 28, 28))
        assert data.test.y.tolist() == list(range(10))

    @pytest.mark.parametrize("keep", [0, 3, 10, 1000])
    def test_cut_off(self, tmp_path, keep):
        write_idx(tmp_path / "MNIST" / "raw")
        path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(InputError, match=r"the files .*MNIST/raw of mnist are damaged .*delete them"):
            load("mnist", root=tmp_path)

    def test_offline(self, monkeypatch, tmp_path):
        def offline(*args, **kwargs):
            raise OSError("no network")

        monkeypatch.setattr("urllib.request.urlopen", offline)
        for name in set(datasets) - {"digits", "coloured-digits"}:
            base = name.removeprefix("coloured-")
            with pytest.raises(InputError, match=f"{base} is missing or incomplete at .* could not be downloaded"):
                load(name, root=tmp_path)


@needs_shared
class TestSharedData:
    @needs_torchvision
    @pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
    def test_idx(self, name):
        data = load(name, root=SHARED, binarize="dynamic")
        assert [len(s) for s in (data.train, data.valid, data.test)] == [58000, 2000, 10000]
        assert data.event_shape == (1, 28, 28)
        assert data.test.x[:100].unique().tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("name", "sizes", "event_shape"),
        [
            ("omniglot-small", [3703, 411, 726], (1, 28, 28)),
            ("cifar10-jpeg", [13500, 1500, 3000], (3, 32, 32)),
        ],
    )
    def test_npz(self, name, sizes, event_shape):
        data = load(SHARED / f"{name}.npz")
        assert [len(s) for s in (data.train, data.valid, data.test)] == sizes
        assert data.event_shape == event_shape
        assert data.train.y is not None
