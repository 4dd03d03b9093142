"""Pixels."""

from __future__ import annotations

import numpy as np

from pyro_vaes.data.kinds.base import Kind, check_valid
from pyro_vaes.errors import InputError

MAX_BINS = 2**16  # gray levels that float32 resolves, with the noise of the dequantization


class Pixels(Kind):
    """Gray levels r = 0 … L - 1 as integers, stored as uint8, or as int32 if L > 256; or intensities in [0, 1].

    Args:
        num_bins: number L of gray levels of integer pixels: 256 for 8-bit images, 65,536 for 16-bit images.

    Raises:
        InputError: If there are more gray levels than those of 16 bits; when values are stored, if one is out of range.

    Example:
        >>> Pixels(num_bins=65_536).store(np.array([[40_000]], dtype=np.uint16), "x_train")
        array([[40000]], dtype=int32)
    """

    name = "pixels"

    def __init__(self, num_bins: int = 256) -> None:
        if num_bins > MAX_BINS:
            raise InputError(f"num_bins is {num_bins}: expected at most {MAX_BINS} gray levels, those of 16 bits")
        super().__init__(num_bins)

    def store(self, array: np.ndarray, name: str) -> np.ndarray:
        """Integer pixels as uint8 or int32, others as float32.

        Raises:
            InputError: If there are no numbers, or a value is out of range; names the first such value.
        """
        if array.dtype.kind == "b":
            return array.astype(np.float32)
        if array.dtype.kind in "iu":
            top = max(self.num_bins, 256) - 1
            more = "num_bins=65536 if they have 16 bits, " if top < MAX_BINS - 1 else ""
            advice = (
                f"integer pixels must lie in 0..{top}: scale them to floats in [0, 1], give {more}or, if they are no "
                'pixels, kind="counts" or kind="values"'
            )
            check_valid((array >= 0) & (array <= top), array, name, advice)
            return array.astype(np.uint8 if top == 255 else np.int32)
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                pixels = array.astype(np.float32)
            advice = (
                "float pixels must be finite and in [0, 1]: divide pixels of 0..255 by 255, or give them as uint8; "
                'scale other values to [0, 1] or give kind="values", and missing ones by a mask'
            )
            check_valid((pixels >= 0) & (pixels <= 1), array, name, advice)
            return pixels
        raise InputError(f"{name} has type {array.dtype}: give uint8, or floats in [0, 1]")
