"""Real values."""

from __future__ import annotations

import numpy as np

from pyro_vaes.data.kinds.base import Kind
from pyro_vaes.errors import InputError

RESOLUTION = 1e-3  # largest rounding error of a stored value, in standard deviations of its feature


class Values(Kind):
    """Real values in units of their own, such as measurements.

    NaN is a missing value. They are stored as float32 and never scaled: the likelihood ``Standardized`` standardizes
    them within the model.

    Example:
        >>> Values().store(np.array([[-3, 250]]), "x_train")
        array([[ -3., 250.]], dtype=float32)
        >>> Values().store(np.array([[1e9], [1e9 + 1]]), "x_train")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train varies by 0.5 around 1e+09 in feature 0, which float32 does not resolve:
        subtract its mean
    """

    name = "values"
    advice = "values must be finite numbers of float32, or NaN where they are missing"
    dtype = np.float32
    nan_is_missing = True

    def valid(self, array: np.ndarray) -> np.ndarray:
        """Whether each value is finite as float32."""
        with np.errstate(over="ignore"):
            return np.isfinite(array.astype(np.float32))

    def store(self, array: np.ndarray, name: str) -> np.ndarray:
        """The values as float32.

        Raises:
            InputError: If there are no numbers, a value is not finite, or float32 does not resolve how a feature
                varies.
        """
        stored = super().store(array, name)
        if array.dtype.itemsize > stored.dtype.itemsize:
            _check_resolution(stored, array.astype(np.float64), name)
        return stored


def _check_resolution(stored: np.ndarray, exact: np.ndarray, name: str) -> None:
    rounding, deviation = np.abs(stored - exact).max(0), exact.std(0)
    lost = (rounding > RESOLUTION * deviation) & (deviation > 0)
    if lost.any():
        where = tuple(int(i) for i in np.unravel_index(lost.argmax(), lost.shape))
        raise InputError(
            f"{name} varies by {deviation[where]:.4g} around {exact.mean(0)[where]:.4g} in feature "
            f"{', '.join(map(str, where))}, which float32 does not resolve: subtract its mean"
        )
