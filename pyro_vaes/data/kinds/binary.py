"""Binary data."""

from __future__ import annotations

import numpy as np

from pyro_vaes.data.kinds.base import Kind


class Binary(Kind):
    """Values 0 and 1, or booleans.

    Example:
        >>> Binary().store(np.array([[True, False]]), "x_train")
        array([[1., 0.]], dtype=float32)
    """

    name = "binary"
    advice = 'binary data are 0 or 1: binarize gray pixels with kind="pixels" and binarize="dynamic"'
    dtype = np.float32

    def valid(self, array: np.ndarray) -> np.ndarray:
        """Whether each value is 0 or 1."""
        return (array == 0) | (array == 1)
