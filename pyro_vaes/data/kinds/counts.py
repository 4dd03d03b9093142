"""Counts."""

from __future__ import annotations

import numpy as np

from pyro_vaes.data.kinds.base import Kind

MAX_COUNT = 2**24  # up to which float32 holds every whole number


class Counts(Kind):
    """Counts 0, 1, 2 … as integers, or as floats that are whole numbers.

    Example:
        >>> Counts().store(np.array([[3.0, 627.0]]), "x_train")
        array([[  3, 627]], dtype=int32)
    """

    name = "counts"
    advice = (
        f"counts are whole numbers from 0 to {MAX_COUNT}: give them before any normalization, missing ones by a "
        'mask, and take kind="values" for real numbers'
    )
    dtype = np.int32

    def valid(self, array: np.ndarray) -> np.ndarray:
        """Whether each value is a whole number from 0 to 2²⁴."""
        return (array >= 0) & (array <= MAX_COUNT) & (array == np.floor(array))
