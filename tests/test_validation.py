"""Paths, devices and numbers that are checked at every entrance."""

import numpy as np
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.validation import as_path, check_positive, check_seed, check_whole, checked_sizes, choose_device


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "~nobody-of-this-name/x", 3, None])
def test_what_is_no_path(value):
    with pytest.raises(InputError, match=r"out is .*, which is not a path \(.*\): give another"):
        as_path(value, "out")


def test_a_device_without_data_is_refused():
    with pytest.raises(InputError, match="'meta' is not available"):
        choose_device("meta")


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_integers_of_any_library_are_taken(value):
    for found in (check_whole("epochs", value), check_seed(value), *checked_sizes(hidden=[value])[0]):
        assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", [True, 3.0, np.float64(3), "3", None, np.array([3, 4]), -1])
def test_what_is_no_integer_is_refused(value):
    for check in (lambda: check_whole("x", value), lambda: check_seed(value), lambda: checked_sizes(x=[value])):
        with pytest.raises(InputError, match=r"(x|seed) is .*: expected"):
            check()


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5)])
def test_numbers_of_numpy_are_taken(value):
    found = check_positive("lr", value, "a positive number")
    assert (found, type(found)) == (0.5, float)
