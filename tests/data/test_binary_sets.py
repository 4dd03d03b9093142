"""Static MNIST and the silhouettes from each form of their files, of small made-up sets."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from pyro_vaes.data import binary_sets, load
from pyro_vaes.errors import InputError
from pyro_vaes.recipes import Settings, load_data

SIZES = (7, 4, 5)
PARTS = dict(zip(("train", "valid", "test"), SIZES, strict=True))
MARLIN = "caltech101_silhouettes_28_split1.mat"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small = {name: replace(known, sizes=SIZES) for name, known in binary_sets.BINARY_SETS.items()}
    monkeypatch.setattr(binary_sets, "BINARY_SETS", small)


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return {part: random.integers(0, 2, (size, 28, 28), dtype=np.uint8) for part, size in PARTS.items()}


def write_text(folder, images):
    for part, x in images.items():
        np.savetxt(folder / f"binarized_mnist_{part}.amat", x.reshape(-1, 784), fmt="%d")


def marlin(images):
    """Marlin's variables: pixels column by column, labels from 1."""
    names = {"train": "train", "valid": "val", "test": "test"}
    columns = {f"{names[part]}_data": x.swapaxes(1, 2).reshape(-1, 784) for part, x in images.items()}
    return columns | {f"{names[part]}_labels": np.arange(len(x))[:, None] + 1 for part, x in images.items()}


def assert_same(data, images):
    for part, x in images.items():
        assert np.array_equal(getattr(data, part).x[:, 0], x)


def test_text_files(tmp_path, images):
    write_text(tmp_path, images)
    for root in (tmp_path, tmp_path / "binarized_mnist_test.amat"):
        data = load("binarized-mnist", root)
        assert_same(data, images)
        assert (data.name, data.train.y) == ("binarized-mnist", None)
    assert data.description.startswith("binarized-mnist: 7 train, 4 valid, 5 test, 1x28x28; ")
    assert data.description.endswith("; Larochelle's fixed binarization")


def test_matlab_file(tmp_path, images):
    savemat(tmp_path / MARLIN, marlin(images) | {"classnames": np.array(["a"], dtype=object)}, do_compression=True)
    for root in (tmp_path, tmp_path / MARLIN):
        data = load("caltech-101-silhouettes", root)
        assert_same(data, images)
        assert data.test.y.tolist() == list(range(5))
    assert "; split 1; object 0, background 1, as in the original" in data.description


@pytest.mark.parametrize(
    ("name", "file"),
    [("binarized-mnist", "binarized-mnist.npz"), ("caltech-101-silhouettes", "caltech101-silhouettes.npz")],
)
def test_npz_file(tmp_path, images, name, file):
    np.savez(tmp_path / file, **{f"x_{part}": x for part, x in images.items()}, y_valid=np.arange(4))
    for root in (tmp_path, tmp_path / file):
        data = load(name, root)
        assert_same(data, images)
        assert data.valid.y.tolist() == [0, 1, 2, 3]


def test_a_likelihood_of_binary_data_does_not_binarize_them_again(tmp_path, images):
    write_text(tmp_path, images)
    settings = Settings(data="binarized-mnist", data_root=str(tmp_path), likelihood="bernoulli")
    data = load_data(settings)
    assert_same(data, images)
    assert "dynamic" not in data.description
    with pytest.raises(InputError, match=r"binary as published, and binarize is 'dynamic': leave it out"):
        load_data(replace(settings, binarize="dynamic"))


class TestRefusals:
    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match=r"is not downloaded, .* holds neither .*npz nor .*amat: give one"):
            load("binarized-mnist", tmp_path)
        with pytest.raises(InputError, match=r"the data root .* is not a file or folder"):
            load("binarized-mnist", tmp_path / "absent")

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "images.mat").touch()
        with pytest.raises(InputError, match=r"is no file of binarized-mnist: expected binarized-mnist\.npz or"):
            load("binarized-mnist", tmp_path / "images.mat")

    def test_a_text_file_is_missing(self, tmp_path, images):
        write_text(tmp_path, images)
        (tmp_path / "binarized_mnist_valid.amat").unlink()
        with pytest.raises(InputError, match=r"no file '.*_valid.amat': .* belong into one folder"):
            load("binarized-mnist", tmp_path)

    @pytest.mark.parametrize("text", ["", "0 1 0\n", "0 1\n0\n", "a b\n", "0.5 " * 784 + "\n", "\0\xff"])
    def test_damaged_text(self, tmp_path, images, text):
        write_text(tmp_path, images)
        (tmp_path / "binarized_mnist_test.amat").write_text(text)
        with pytest.raises(InputError, match=r"_test\.amat' is damaged .*: expected rows of 784 digits 0 or 1"):
            load("binarized-mnist", tmp_path)

    @pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: np.concatenate([x, x])])
    def test_other_numbers_of_images(self, tmp_path, images, change):
        write_text(tmp_path, images | {"test": change(images["test"])})
        with pytest.raises(InputError, match=r"x_test of .* has shape .*, but binarized-mnist has \(5, 28, 28\)"):
            load("binarized-mnist", tmp_path)

    def test_other_values(self, tmp_path, images):
        write_text(tmp_path, images | {"valid": 2 * images["valid"]})
        with pytest.raises(InputError, match=r"x_valid of .* holds values other than 0 and 1"):
            load("binarized-mnist", tmp_path)

    def test_an_archive_without_its_own_validation_split(self, tmp_path, images):
        np.savez(tmp_path / "binarized-mnist.npz", x_train=images["train"], x_test=images["test"])
        with pytest.raises(InputError, match=r"x_valid of .* has shape None"):
            load("binarized-mnist", tmp_path)

    def test_other_variables(self, tmp_path, images):
        arrays = marlin(images)
        savemat(tmp_path / MARLIN, arrays | {"val_data": arrays["val_data"][:, :256]})
        with pytest.raises(InputError, match=r"val_data of shape \(4, 256\), expected \(4, 784\)"):
            load("caltech-101-silhouettes", tmp_path)

    @pytest.mark.parametrize("content", [b"", b"MATLAB 7.3", bytes(300)])
    def test_damaged_matlab(self, tmp_path, content):
        (tmp_path / MARLIN).write_bytes(content)
        with pytest.raises(InputError, match="is damaged, or no Matlab file of version 5"):
            load("caltech-101-silhouettes", tmp_path)
