"""Conversion of user arrays to stored tensors, with validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.errors import InputError

CHANNELS = ("first", "last")
CHANNEL_COUNTS = (1, 3, 4)  # gray, color, color with transparency


def as_images(values: object, name: str, channels: str | None = None) -> Tensor:
    """Images or vectors as a contiguous tensor, channels first: uint8, or float32 in [0, 1].

    Args:
        values: NumPy or torch array. Bool becomes float; integers must lie in 0..255, floats in [0, 1].
        name: name of the array in errors.
        channels: ``"first"`` or ``"last"``, for shapes that are ambiguous.

    Shapes:
        values: ``(N, D)``, ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``;
        result: ``(N, D)`` or ``(N, C, H, W)``.

    Raises:
        InputError: If the array has another type, shape or range; names the array and its first invalid value.

    Example:
        >>> as_images(np.zeros((2, 32, 32, 3), dtype=np.uint8), "x_train").shape
        torch.Size([2, 3, 32, 32])
    """
    array = _as_numpy(values, name)
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"{name} has shape {array.shape}: give vectors (N, D), or images (N, H, W), (N, C, H, W) or (N, H, W, C)"
        )
    if array.size == 0:
        raise InputError(f"{name} is empty: its shape is {array.shape}")
    array = _as_pixels(array, name)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and _channel_place(array.shape, name, channels) == "last":
        array = np.moveaxis(array, -1, 1)
    return torch.from_numpy(np.array(array, order="C"))


def as_labels(values: object | None, name: str, count: int) -> Tensor | None:
    """Integer labels, one row for each of ``count`` images, as a long tensor; None remains None.

    Shapes:
        values, result: ``(N,)``, or ``(N, F)`` for F factors.

    Raises:
        InputError: If the labels are not integers, or their shape or number is wrong.
    """
    if values is None:
        return None
    array = _as_numpy(values, name)
    if array.dtype.kind not in "iub" or array.ndim not in (1, 2):
        raise InputError(f"{name} has type {array.dtype} and shape {array.shape}: labels are integers (N,) or (N, F)")
    if len(array) != count:
        raise InputError(f"{name} has {len(array)} labels for the {count} images of x{name[1:]}")
    return torch.from_numpy(array.astype(np.int64))


def _as_numpy(values: object, name: str) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.empty(0, dtype=object)  # NumPy refuses nested lists of unequal lengths
    if array.dtype == object:
        raise InputError(
            f"{name} is not a regular array of numbers: if it holds images of several sizes, resize them to one"
        )
    return array


def _as_pixels(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        _check_range(array, array, name, 255, "integer pixels must lie in 0..255")
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = array.astype(np.float32)
        advice = "float pixels must be finite and in [0, 1]: divide pixels of 0..255 by 255, or give them as uint8"
        _check_range(pixels, array, name, 1, advice)
        return pixels
    raise InputError(f"{name} has type {array.dtype}: give uint8, or floats in [0, 1]")


def _check_range(pixels: np.ndarray, given: np.ndarray, name: str, top: int, advice: str) -> None:
    good = (pixels >= 0) & (pixels <= top)  # false for NaN
    if not good.all():
        where = tuple(int(i) for i in np.unravel_index(good.argmin(), good.shape))
        raise InputError(f"{name}[{', '.join(map(str, where))}] is {given[where]}: {advice}")


def _channel_place(shape: tuple[int, ...], name: str, channels: str | None) -> str:
    if channels is not None:
        return channels
    first, last = shape[1] in CHANNEL_COUNTS, shape[3] in CHANNEL_COUNTS
    if first == last:
        why = "both its second and its last axis" if first else "neither its second nor its last axis"
        raise InputError(
            f"{name} has shape {shape}, where {why} could be 1, 3 or 4 channels: "
            'say channels="first" or channels="last"'
        )
    return "first" if first else "last"
