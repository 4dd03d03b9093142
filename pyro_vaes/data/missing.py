"""Missing values of stored data: NaN in floats, -1 in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.data.kinds.base import Kind, check_numbers
from pyro_vaes.errors import InputError
from pyro_vaes.missing import check_hidden, check_mask

MISSING = -1  # in integers; unsigned ones of 8 bits become signed ones of 16


def is_missing(stored: Tensor) -> Tensor:
    """Whether each stored value is missing.

    Example:
        >>> is_missing(torch.tensor([0, -1], dtype=torch.int16)), is_missing(torch.tensor([0.5, torch.nan]))
        (tensor([False,  True]), tensor([False,  True]))
    """
    return stored.isnan() if stored.is_floating_point() else stored < 0


def take_mask(values: Any, mask: Any, name: str) -> tuple[Any, Any]:
    """Values without the mask of a NumPy array, and that mask, True where a value was seen.

    Args:
        values: array of any kind.
        mask: True where a value was seen; None for none.
        name: name of the values in errors.

    Raises:
        InputError: If there are two masks.

    Example:
        >>> take_mask(np.ma.masked_equal([1, 2], 2), None, "x_train")
        (array([1, 2]), array([ True, False]))
    """
    if not (isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values)):
        return values, mask
    if mask is not None:
        raise InputError(f"{name} is masked and there is a mask beside it: give {name}.data with the mask, or no mask")
    return values.data, ~np.ma.getmaskarray(values)


def store(array: np.ndarray, mask: object, kind: Kind, name: str) -> np.ndarray:
    """The values of an array as their kind stores them, missing ones marked.

    Args:
        array: the values, ``(N, ...)``; NaN is missing if the kind says so.
        mask: True where a value was seen, of the shape of the array; None for all.
        kind: the kind.
        name: name of the array in errors.

    Raises:
        InputError: If the mask does not fit the array, all values of an observation are missing, or the kind refuses a
            value that was seen.

    Example:
        >>> from pyro_vaes.data.kinds import Counts
        >>> store(np.array([[3, 7]]), np.array([[True, False]]), Counts(), "x_train")
        array([[ 3, -1]], dtype=int32)
    """
    seen = None if mask is None else as_numpy(mask, f"the mask of {name}")
    if seen is not None:
        check_mask(seen, array.shape, name)
    if kind.nan_is_missing and array.dtype.kind == "f":
        known = ~np.isnan(array)
        seen = known if seen is None else seen & known
    if seen is None or seen.all():
        return kind.store(array, name)
    check_numbers(array, name)
    check_hidden(torch.from_numpy(seen.reshape(len(seen), -1)), name)
    lowest = np.where(seen, array, np.zeros_like(array)).min()
    largest = np.max(array, axis=0, where=seen, initial=lowest)  # a valid value that leaves a feature its variation
    largest = np.where(seen.any(0), largest, np.zeros_like(largest))
    stored = kind.store(np.where(seen, array, largest), name)
    if stored.dtype == np.uint8:
        stored = stored.astype(np.int16)
    stored[~seen] = np.nan if stored.dtype.kind == "f" else MISSING
    return stored


def widened(stored: Tensor) -> Tensor:
    """Stored values of the type that holds missing ones too.

    Example:
        >>> widened(torch.zeros(1, dtype=torch.uint8)).dtype
        torch.int16
    """
    return stored.to(torch.int16) if stored.dtype == torch.uint8 else stored


def share_missing(parts: list[Tensor]) -> float:
    """Share of the values of all parts that are missing.

    Example:
        >>> share_missing([torch.tensor([1.0, torch.nan]), torch.zeros(2)])
        0.25
    """
    return sum(int(is_missing(x).sum()) for x in parts) / sum(x.numel() for x in parts)


def check_seen_features(x: Tensor, name: str) -> None:
    """Check that every feature was seen in some training example, without which nothing can be learned of it.

    Raises:
        InputError: If one was not.

    Example:
        >>> check_seen_features(torch.tensor([[1.0, torch.nan], [2.0, torch.nan]]), "x_train")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train[:, 1] is missing in all examples: leave this feature out
    """
    never = is_missing(x).all(0)
    if never.any():
        where = ", ".join(map(str, never.nonzero()[0].tolist()))
        raise InputError(f"{name}[:, {where}] is missing in all examples: leave this feature out")
