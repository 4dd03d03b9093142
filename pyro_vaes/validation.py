"""Validation of arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_vaes.errors import InputError, shown

if TYPE_CHECKING:
    import torch


def checked_sizes(**named: Sequence[int]) -> list[tuple[int, ...]]:
    """The named sequences of sizes as tuples, each nonempty and of positive integers.

    Raises:
        InputError: If a sequence is empty or a size is not a positive integer.

    Example:
        >>> checked_sizes(hidden=[256, 256])
        [(256, 256)]
    """
    for name, sizes in named.items():
        if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
            shown = sizes[0] if len(sizes) == 1 else tuple(sizes)
            raise InputError(f"{name} is {shown}: expected positive whole numbers, for example {name}=16")
    return [tuple(sizes) for sizes in named.values()]


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Check that a value is an integer of at least ``least``.

    Raises:
        InputError: If it is not.

    Example:
        >>> check_whole("epochs", 20)
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more")


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


def check_seed(seed: int) -> None:
    """Check that the random number generators accept a seed.

    Raises:
        InputError: If it is not an integer from 0 to 2³² - 1.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}: expected a whole number from 0 to 4294967295")


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
