"""Base class of kinds of data."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pyro_vaes.errors import InputError


class Kind:
    """Base class of kinds of data.

    A new kind says which values are valid and as which type they are stored; a model takes them as floats. It is then
    listed in ``pyro_vaes.data.kinds``.

    Args:
        num_bins: number of gray levels, which only pixels have.

    Attributes:
        name: name of the kind.
        advice: what the values must be, and what to do with others, for errors.
        dtype: type of the stored values.
        nan_is_missing: whether NaN in floats is a missing value, and no error.
    """

    name: ClassVar[str]
    advice: ClassVar[str]
    dtype: ClassVar[type[np.generic]]
    nan_is_missing: ClassVar[bool] = False

    def __init__(self, num_bins: int = 256) -> None:
        self.num_bins = num_bins

    def valid(self, array: np.ndarray) -> np.ndarray:
        """Whether each value is one of this kind; false for NaN."""
        raise NotImplementedError(f"{type(self).__name__} must implement valid(array)")

    def store(self, array: np.ndarray, name: str) -> np.ndarray:
        """The values of an array as they are stored.

        Args:
            array: the values.
            name: name of the array in errors.

        Raises:
            InputError: If the array has no numbers, or a value is not valid; names the first such value.
        """
        check_numbers(array, name)
        check_valid(self.valid(array), array, name, self.advice)
        return array.astype(self.dtype)


def check_numbers(array: np.ndarray, name: str) -> None:
    """Check that an array holds real numbers or booleans.

    Raises:
        InputError: If it holds something else.

    Example:
        >>> check_numbers(np.array(["a"]), "x_train")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train has type <U1: give integers, floats or booleans
    """
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has type {array.dtype}: give integers, floats or booleans")


def check_valid(valid: np.ndarray, array: np.ndarray, name: str, advice: str) -> None:
    """Check that all values are valid.

    Args:
        valid: whether each value is.
        array: the values.
        name: name of the array in errors.
        advice: what to do.

    Raises:
        InputError: If a value is not; names the first such value.

    Example:
        >>> check_valid(np.array([True, False]), np.array([0, -1]), "x_train", "counts are not negative")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train[1] is -1: counts are not negative
    """
    if not valid.all():
        where = tuple(int(i) for i in np.unravel_index(valid.argmin(), valid.shape))
        raise InputError(f"{name}[{', '.join(map(str, where))}] is {array[where]}: {advice}")
