"""Arrays given as data: layouts, types, labels, and what is refused."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, numbered, numbers, pixels


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
            ((20, 2, 8, 6), (2, 8, 6)),
            ((20, 8, 6, 2), (2, 8, 6)),
            ((20, 13, 6, 6), (13, 6, 6)),
            ((20, 8, 8, 13), (13, 8, 8)),
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

    @pytest.mark.parametrize("shape", [(20, 3, 5, 4), (20, 2, 8, 2), (20, 1, 1, 1), (20, 5, 6, 7), (20, 8, 8, 8)])
    def test_an_open_layout_asks_for_channels(self, shape):
        with pytest.raises(
            InputError, match=r'x_train has shape .* say channels="first" or channels="last".*--channels'
        ):
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
        with pytest.raises(InputError, match="pixels of x_train are uint8 and of x_valid float32"):
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
