"""Missing values of data: how they are declared, stored, given to models and reported, and what is refused."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data, load
from pyro_vaes.data.split import per_pixel_mean
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, pixels

X = pixels(20, 6, 6, 3)
MASK = np.random.default_rng(1).random(X.shape) < 0.5
VALUES = np.random.default_rng(2).normal(size=(20, 4))
SEEN = np.random.default_rng(3).random(VALUES.shape) < 0.7


def same(one, other):
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(9), other.nan_to_num(9))


@pytest.mark.parametrize("options", [{}, {"dequantize": False}, {"binarize": "threshold"}, {"logit": True}])
def test_integer_pixels(options):
    data = make(X, mask_train=MASK, mask_test=MASK[:5], **options)
    plain = make(X, **options)
    seen = torch.from_numpy(np.moveaxis(MASK[:5], -1, 1))
    assert data.has_missing
    assert not plain.has_missing
    assert plain.test.mask is None
    assert data.test.pixels.dtype == data.train.pixels.dtype == torch.int16
    assert torch.equal(data.test.mask, seen)
    assert torch.equal(data.test.x.isnan(), ~seen)
    assert torch.equal(data.test.x[seen], plain.test.x[seen])
    assert torch.equal(data.train.preprocess(data.train.pixels).isnan(), ~data.train.mask)
    share = 1 - (MASK.sum() + MASK[:5].sum()) / (MASK.size + MASK[:5].size)
    assert f"; {share:.1%} of the values missing" in data.description
    assert "missing" not in plain.description


@pytest.mark.parametrize("binarize", ["dynamic", "static"])
def test_binarized_pixels(binarize):
    data = make(X, mask_train=MASK, binarize=binarize)
    assert torch.equal(data.train.x.isnan(), ~data.train.mask)
    assert set(data.train.x[data.train.mask].tolist()) == {0, 1}
    assert not data.test.x.isnan().any()


@pytest.mark.parametrize(
    ("kind", "x"),
    [
        ("values", VALUES),
        ("counts", (10 * VALUES).round().astype(int) + 90),
        ("binary", VALUES > 0),
        ("pixels", VALUES > 0),
        ("pixels", (VALUES > 0).astype(np.uint8)),
        ("pixels", 1 / (1 + np.exp(-VALUES))),
    ],
)
def test_every_kind(kind, x):
    data = make(x, mask_train=SEEN, x_test=x, mask_test=SEEN, kind=kind)
    expected = torch.where(torch.from_numpy(SEEN), torch.from_numpy(x.astype(np.float32)), torch.nan)
    assert same(data.test.x, expected)
    assert data.test.mask.equal(torch.from_numpy(SEEN))


def test_nan_of_values_and_masked_arrays_are_masks():
    nan = np.where(SEEN, VALUES, np.nan)
    masked = np.ma.array(VALUES, mask=~SEEN)
    frame = pytest.importorskip("pandas").DataFrame(nan, columns=list("abcd"))
    expected = make(VALUES, mask_train=SEEN, kind="values").train
    for x in (nan, torch.from_numpy(nan), masked, frame):
        assert same(make(x, kind="values", x_test=VALUES).train.x, expected.x)
    both = make(nan, mask_train=np.arange(4) != np.arange(20)[:, None] % 5, x_test=VALUES, kind="values")
    assert both.train.mask.sum() < expected.mask.sum()


def test_files(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=X, x_test=X[:5], mask_train=MASK, mask_test=MASK[:5])
    data = load(tmp_path / "x.npz")
    assert same(data.test.x, make(X, mask_train=MASK, mask_test=MASK[:5]).test.x)
    (tmp_path / "table.csv").write_text("a,b\n" + "1,2.5\n,3\n2,\n" * 9)
    table = load(tmp_path / "table.csv", kind="values")
    assert table.description.startswith("table: 23 train, 2 valid, 2 test, 2; values, as given; 33.3% of the values")


def test_the_mean_is_that_of_what_was_seen():
    split = make(VALUES, mask_train=SEEN, x_test=VALUES, kind="values").train
    expected = np.nanmean(split.x.numpy().astype(float), 0)
    np.testing.assert_allclose(per_pixel_mean(split), expected, rtol=1e-5)
    centered = make(X / 255, mask_train=MASK, x_test=X / 255, center=True)
    assert centered.train.x.nanmean(0).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask_train": MASK[:5]}, r"the mask has shape \(5, 6, 6, 3\), but x_train has \(20, 6, 6, 3\)"),
        ({"mask_train": MASK.astype(int)}, "the mask of x_train is of int64: give a boolean for each value"),
        ({"mask_train": np.zeros_like(MASK)}, "all values of x_train are missing: a mask is True where a value was"),
        ({"mask_test": MASK[:5] & (np.arange(5) != 2)[:, None, None, None]}, r"all values of x_test\[2\] are missing"),
        ({"mask_valid": MASK}, "mask_valid was given without x_valid"),
        ({"mask_train": MASK & (np.arange(3) != 1)}, r"x_train\[:, 1, 0, 0\] is missing in all examples"),
        ({"x_train": np.ma.array(X, mask=~MASK), "mask_train": MASK}, "x_train is masked and there is a mask beside"),
        ({"x_train": np.where(MASK, X / 255, np.nan), "x_test": X / 255}, r"x_train\[.*\] is nan: .* by a mask"),
    ],
)
def test_masks_that_do_not_fit_are_refused(options, words):
    given = {"x_train": X, "x_test": X[:5], **options}
    with pytest.raises(InputError, match=words):
        Data.from_arrays(**given)
