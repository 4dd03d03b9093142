"""Paths, devices and numbers that are checked at every entrance."""

import pytest

from pyro_vaes.errors import InputError
from pyro_vaes.validation import as_path, choose_device


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "~nobody-of-this-name/x", 3, None])
def test_what_is_no_path(value):
    with pytest.raises(InputError, match=r"out is .*, which is not a path \(.*\): give another"):
        as_path(value, "out")


def test_a_device_without_data_is_refused():
    with pytest.raises(InputError, match="'meta' is not available"):
        choose_device("meta")
