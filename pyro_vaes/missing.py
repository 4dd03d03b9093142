"""Missing values: NaN in x, wherever they were declared."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.errors import InputError

_local = threading.local()


@contextlib.contextmanager
def missing_values(declared: bool = True) -> Iterator[None]:
    """Context manager in which NaN in x marks a missing value, which likelihoods leave out; elsewhere it is an error.

    A mask that is given to a model, a guide or an estimate, and ``Data`` with missing values that are given to ``fit``
    or a report, do the same for the time of the call. Without missing values nothing is computed for them.

    Args:
        declared: whether it does; False where x is known to be complete.

    Example:
        >>> x[:, 0, :4] = torch.nan
        >>> with missing_values():
        ...     guide.posterior(x).mean.isfinite().all()
        tensor(True)
    """
    before = nan_is_missing()
    _local.declared = declared
    try:
        yield
    finally:
        _local.declared = before


def nan_is_missing() -> bool:
    """Whether NaN in x marks a missing value here.

    Example:
        >>> nan_is_missing()
        False
    """
    return getattr(_local, "declared", False)


@contextlib.contextmanager
def seen(x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
    """Context manager that gives x with NaN where a mask says that it was not seen, as missing values.

    Args:
        x: the batch.
        mask: True where x was seen; None for x as it is.

    Raises:
        InputError: If the mask has another shape or is not of booleans.

    Example:
        >>> with seen(torch.ones(2), torch.tensor([True, False])) as x:
        ...     x, nan_is_missing()
        (tensor([1., nan]), True)
    """
    if mask is None:
        yield x
        return
    with missing_values():
        yield hide(x, mask)


def hide(x: Tensor, mask: Tensor, name: str = "x") -> Tensor:
    """X with NaN where a mask is False.

    Raises:
        InputError: If the mask has another shape or is not of booleans.

    Example:
        >>> hide(torch.ones(2), torch.tensor([True, 1 > 2]))
        tensor([1., nan])
    """
    check_mask(mask, x.shape, name)
    return torch.where(mask.to(x.device), x, torch.nan)


def fill(x: Tensor, value: float | Tensor) -> Tensor:
    """X with a value in place of missing ones, where there may be some.

    Example:
        >>> with missing_values():
        ...     fill(torch.tensor([1.0, torch.nan]), 0.5)
        tensor([1.0000, 0.5000])
    """
    return torch.where(x.isnan(), value, x) if nan_is_missing() else x


def fill_mean(x: Tensor) -> Tensor:
    """X with the mean of a feature's other values for missing ones; a feature that does not vary stays constant.

    Example:
        >>> with missing_values():
        ...     fill_mean(torch.tensor([[1.0], [torch.nan], [2.0]])).squeeze(-1)
        tensor([1.0000, 1.5000, 2.0000])
    """
    if not nan_is_missing():
        return x
    low, high = x.nan_to_num(nan=torch.inf).amin(0), x.nan_to_num(nan=-torch.inf).amax(0)
    return fill(x, x.nanmean(0).clamp(low, high))


def check_mask(mask: Any, shape: tuple[int, ...], name: str = "x") -> None:
    """Check that a mask has the shape of the data, and booleans.

    Args:
        mask: tensor or NumPy array.
        shape: shape of the data.
        name: name of the data in errors.

    Raises:
        InputError: If it has not.

    Example:
        >>> check_mask(torch.ones(2, dtype=torch.bool), (3,))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the mask has shape (2,), but x has (3,): give a boolean for each value, True where
        it was seen
    """
    expected = "give a boolean for each value, True where it was seen"
    if not hasattr(mask, "dtype") or str(mask.dtype).removeprefix("torch.") != "bool":
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise InputError(f"the mask of {name} is of {str(kind).removeprefix('torch.')}: {expected}, such as mask > 0")
    if tuple(mask.shape) != tuple(shape):
        raise InputError(f"the mask has shape {tuple(mask.shape)}, but {name} has {tuple(shape)}: {expected}")


def check_hidden(seen: Tensor, name: str = "x") -> None:
    """Check that something was seen of every observation.

    Args:
        seen: whether each value was, ``(N, *event_shape)``.
        name: name of the data in errors.

    Raises:
        InputError: If an observation, or all of them, have no value.

    Example:
        >>> check_hidden(torch.tensor([[True, False], [False, False]]))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: all values of x[1] are missing: leave this observation out
    """
    empty = ~seen.flatten(1).any(1)
    if empty.all():
        raise InputError(
            f"all values of {name} are missing: a mask is True where a value was seen, not where it is not"
        )
    if empty.any():
        raise InputError(f"all values of {name}[{int(empty.nonzero()[0])}] are missing: leave this observation out")
