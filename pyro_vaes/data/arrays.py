"""Conversion of user arrays to stored tensors, with validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.data.kinds import Kind, Pixels
from pyro_vaes.data.missing import store, take_mask
from pyro_vaes.data.sparse import as_dense_matrix
from pyro_vaes.errors import InputError

CHANNELS = ("first", "last")
CHANNEL_COUNTS = (1, 2, 3, 4)  # gray, two stains or gray with transparency, color, color with transparency


def as_images(
    values: object, name: str, channels: str | None = None, kind: Kind | None = None, mask: object = None
) -> Tensor:
    """Images or vectors as a contiguous tensor, channels first, stored as their kind is.

    Args:
        values: NumPy or torch array, SciPy sparse matrix, AnnData object, data frame of numbers, or list of arrays.
        name: name of the array in errors.
        channels: ``"first"`` or ``"last"``, for shapes that are ambiguous.
        kind: kind of data; 8-bit pixels by default.
        mask: True where a value was seen, of the shape of the array; None for all.

    Shapes:
        values: ``(N, D)``, ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``;
        result: ``(N, D)`` or ``(N, C, H, W)``.

    Raises:
        InputError: If the array has another type, shape or range; names the array and its first invalid value.

    Example:
        >>> as_images(np.zeros((2, 32, 32, 3), dtype=np.uint8), "x_train").shape
        torch.Size([2, 3, 32, 32])
    """
    values, mask = take_mask(as_dense_matrix(values, name), mask, name)
    array = as_numpy(values, name)
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"{name} has shape {array.shape}: give vectors (N, D), or images (N, H, W), (N, C, H, W) or (N, H, W, C)"
        )
    if array.size == 0:
        raise InputError(f"{name} is empty: its shape is {array.shape}")
    array = store(array, mask, kind or Pixels(), name)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and _channel_place(array.shape, name, channels) == "last":
        array = np.moveaxis(array, -1, 1)
    return torch.from_numpy(np.array(array, order="C"))


def as_labels(values: object | None, name: str, count: int) -> Tensor | None:
    """Labels or conditions, one row for each of ``count`` images; None remains None.

    Shapes:
        values, result: integers ``(N,)``, or ``(N, F)`` for F factors, as a long tensor; or vectors ``(N, C)`` of
        floats, conditions of a conditional model, as float32.

    Raises:
        InputError: If they are something else, a number is missing or infinite, or their shape or number is wrong.
    """
    if values is None:
        return None
    array = as_numpy(values, name)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise InputError(f"{name} has missing values: fill them, or leave those examples out")
    vectors = array.dtype.kind == "f" and array.ndim == 2
    if not (vectors or array.dtype.kind in "iub") or array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise InputError(
            f"{name} has type {array.dtype} and shape {array.shape}: labels are integers (N,) or (N, F), conditions "
            f"floats (N, C): give {name}.astype(int), or for names numpy.unique({name}, return_inverse=True)[1]"
        )
    if len(array) != count:
        raise InputError(
            f"{name} has {len(array)} labels for the {count} images of x{name[1:]}: give one label per image"
        )
    if vectors:
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds infinite values: give finite ones")
        return torch.from_numpy(array.astype(np.float32))
    if array.size and int(array.max()) > (most := np.iinfo(np.int64).max):
        raise InputError(f"{name} holds {array.max()}: labels go up to {most}")
    return torch.from_numpy(array.astype(np.int64))


def _channel_place(shape: tuple[int, ...], name: str, channels: str | None) -> str:
    """The place of the axis of 1 to 4 channels, or else of the one beside height and width that are equal."""
    if channels is not None:
        return channels
    first, last = shape[1] in CHANNEL_COUNTS, shape[3] in CHANNEL_COUNTS
    if not (first or last):
        first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first == last:
        raise InputError(
            f"{name} has shape {shape}, whose channels may be its second or its last axis: "
            'say channels="first" or channels="last", on the command line --channels first or --channels last'
        )
    return "first" if first else "last"
