"""Validation of arguments."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_vaes.errors import InputError, shown

if TYPE_CHECKING:
    import torch


def checked_sizes(**named: Sequence[int]) -> list[tuple[int, ...]]:
    """The named sequences of sizes as tuples of Python's integers, each nonempty and of positive ones.

    Raises:
        InputError: If a sequence is empty or a size is not a positive integer.

    Example:
        >>> checked_sizes(hidden=[256, 256])
        [(256, 256)]
    """
    checked = []
    for name, sizes in named.items():
        whole = [as_integer(size) for size in sizes]
        if not whole or any(size is None or size < 1 for size in whole):
            shown = sizes[0] if len(sizes) == 1 else tuple(sizes)
            raise InputError(f"{name} is {shown}: expected positive whole numbers, for example {name}=16")
        checked.append(tuple(size for size in whole if size is not None))
    return checked


def as_integer(value: Any) -> int | None:
    """An integer of any library, such as NumPy, as Python's; None for booleans and all else.

    Example:
        >>> import numpy as np
        >>> as_integer(np.int64(3)), as_integer(3.0), as_integer(True)
        (3, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def check_whole(name: str, value: object, least: int = 1) -> int:
    """Check that a value is an integer of at least ``least``; returns it as Python's.

    Raises:
        InputError: If it is not.

    Example:
        >>> check_whole("epochs", 20)
        20
    """
    whole = as_integer(value)
    if whole is None or whole < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more")
    return whole


def check_positive(name: str, value: object, expected: str, below: float = math.inf) -> float:
    """Check that a value is a positive number, NumPy's included; returns it as Python's.

    Args:
        name: name of the argument.
        value: its value.
        expected: what the message says that is expected.
        below: a number that the value is smaller than.

    Raises:
        InputError: If it is not.

    Example:
        >>> check_positive("lr", 1e-3, "a positive number")
        0.001
    """
    if not (isinstance(value, Real) and 0 < float(value) < below):
        raise InputError(f"{name} is {value!r}: expected {expected}")
    return float(value)


def choose_device(device: str) -> torch.device:
    """The torch device of a name; ``"auto"`` is a GPU if there is one, else the CPU.

    The GPU is the first one, or under ``torchrun`` the one of the process's local rank.

    Raises:
        InputError: If the device is not available.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    import torch  # seconds, which the command line's help does not wait for

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = torch.empty(0, device=device)
        return chosen.to("cpu").new_empty(0, device=chosen.device).device  # fails on devices that hold no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"device {device!r} is not available: give auto, cpu or cuda") from error


def check_seed(seed: object) -> int:
    """Check that the random number generators accept a seed; returns it as Python's integer.

    Raises:
        InputError: If it is not an integer from 0 to 2³² - 1.
    """
    whole = as_integer(seed)
    if whole is None or not 0 <= whole < 2**32:
        raise InputError(f"seed is {seed!r}: expected a whole number from 0 to 4294967295")
    return whole


def as_path(value: object, name: str) -> Path:
    """A path from user input, with ``~`` expanded.

    Raises:
        InputError: If it is not text, contains null characters, or starts at the home of an unknown user.

    Example:
        >>> as_path("runs/laplace", "out").parts
        ('runs', 'laplace')
    """
    try:
        path = Path(value).expanduser()  # type: ignore[arg-type]
        if "\0" in str(path):
            raise ValueError("it holds a null character")
        str(path).encode()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is {shown(value)}, which is not a path ({error}): give another") from error
    return path
