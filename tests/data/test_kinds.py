"""Kinds of data: what is stored, what a model takes, what is reported, and what is refused."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data, load
from pyro_vaes.data.kinds import KINDS, Kind
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, pixels

COUNTS = np.random.default_rng(0).poisson(90, (20, 5))
SAVED = {
    "binary": (COUNTS > 90, torch.float32),
    "counts": (COUNTS, torch.int32),
    "values": (COUNTS / 7 - 12, torch.float32),
}


@pytest.mark.parametrize("kind", SAVED)
def test_data_are_taken_as_they_are_and_reported(kind):
    x, dtype = SAVED[kind]
    data = make(x, kind=kind)
    assert data.test.pixels.dtype == dtype
    assert torch.equal(data.test.x, torch.from_numpy(x[:5]).float())
    assert torch.equal(data.train.preprocess(data.train.pixels), data.train.x)
    assert data.description == f"arrays: 18 train, 2 valid, 5 test, 5; {kind}, as given"
    assert data.kind == kind


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
def test_counts_of_any_type(dtype):
    assert np.array_equal(make(COUNTS.astype(dtype), kind="counts").test.pixels.numpy(), COUNTS[:5])


def test_images_of_any_kind():
    x = pixels(20, 6, 6, 3).astype(int) * 100
    assert make(x, kind="counts").event_shape == make(x - 7.5, kind="values").event_shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("binary", 0.5, r'x_test\[2, 1\] is 0.5: binary data are 0 or 1: .*binarize="dynamic"'),
        ("binary", np.nan, r"x_test\[2, 1\] is nan: binary"),
        ("counts", 0.5, r'x_test\[2, 1\] is 0.5: counts are whole numbers .* take kind="values" for real'),
        ("counts", -1, r"x_test\[2, 1\] is -1.*: counts are whole numbers from 0"),
        ("counts", 2**24 + 2, "counts are whole numbers from 0 to 16777216"),
        ("counts", np.nan, "is nan: counts .*missing ones by a mask"),
        ("values", np.inf, r"x_test\[2, 1\] is inf: values must be finite .*or NaN where they are missing"),
        ("values", 1e300, r"x_test\[2, 1\] is 1e\+300: values must be finite numbers of float32"),
        ("pixels", 1.5, r'is 1.5: float pixels .* or give kind="values"'),
    ],
)
def test_the_first_bad_value_is_named(kind, value, words):
    x = np.zeros((20, 3))
    bad = x.copy()
    bad[2, 1] = value
    with pytest.raises(InputError, match=words):
        make(x, x_test=bad, kind=kind)


@pytest.mark.parametrize("kind", SAVED)
def test_other_types_are_refused(kind):
    with pytest.raises(InputError, match="x_train has type complex128: give integers, floats or booleans"):
        make(np.ones((20, 2), complex), kind=kind)


def test_values_that_float32_does_not_resolve_are_refused():
    years = np.full((20, 2), 3.0)
    years[:, 1] = 1.7e9 + np.arange(20)
    with pytest.raises(InputError, match=r"x_train varies by 5.766 around 1.7e\+09 in feature 1, .*subtract its mean"):
        make(years, kind="values")
    assert make(years - years.mean(0), kind="values").train.x.std() > 1


def test_what_only_pixels_have_is_refused():
    with pytest.raises(InputError, match="binarize is 'dynamic', but the data are counts: only pixels are binarized"):
        make(COUNTS, kind="counts", binarize="dynamic")
    with pytest.raises(InputError, match="unknown kind of data 'count': did you mean 'counts'"):
        make(COUNTS, kind="count")
    with pytest.raises(InputError, match="unknown kind of data 'count'"):
        load("nowhere.npz", kind="count")


class TestSixteenBits:
    x = np.random.default_rng(0).integers(0, 2**16, (20, 4, 4), dtype=np.uint16)

    def test_they_are_pixels_of_65536_levels(self):
        data = make(self.x, num_bins=2**16)
        assert data.test.pixels.dtype == torch.int32
        assert data.description.endswith("dequantized with uniform noise (65536 bins)")
        assert torch.equal((data.test.x[:, 0] * 2**16).floor().int(), torch.from_numpy(self.x[:5].astype(np.int32)))
        exact = make(self.x, num_bins=2**16, dequantize=False).test.x[:, 0]
        torch.testing.assert_close(exact, torch.from_numpy(self.x[:5] / 65535).float())

    def test_dequantized_white_stays_below_one(self):
        white = make(np.full((20, 100, 100), 2**16 - 1, np.uint16), num_bins=2**16).train.x
        assert white.max() < 1
        assert (white * 2**16).floor().unique().tolist() == [2**16 - 1]

    def test_binarized(self):
        assert make(self.x, num_bins=2**16, binarize="threshold").test.x.unique().tolist() == [0, 1]

    def test_they_are_not_taken_for_8_bits(self):
        with pytest.raises(InputError, match=r'must lie in 0..255: .*num_bins=65536 .*kind="counts"'):
            make(self.x)
        with pytest.raises(InputError, match="num_bins is 131072: expected at most 65536"):
            make(self.x, num_bins=2**17)


def test_a_new_kind_is_one_short_class(monkeypatch):
    class Angles(Kind):
        name, advice, dtype = "angles", "angles lie in [0, 360)", np.float32

        def valid(self, array):
            return (array >= 0) & (array < 360)

    monkeypatch.setitem(KINDS, "angles", Angles)
    data = make(np.linspace(0, 350, 40).reshape(20, 2), kind="angles")
    assert data.description.endswith("angles, as given")
    with pytest.raises(InputError, match=r"x_train\[0, 0\] is 400.0: angles lie in"):
        Data.from_arrays(x_train=np.full((20, 2), 400.0), kind="angles")


@pytest.mark.parametrize("option", ["center", "logit"])
def test_transforms_are_for_pixels(option):
    with pytest.raises(InputError, match=rf"{option} is for pixels, but the data are values: leave it out"):
        make(COUNTS, kind="values", **{option: True})
