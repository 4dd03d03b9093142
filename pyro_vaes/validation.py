"""Checks of arguments, each with a message that says what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from pyro_vaes.errors import InputError, shown


def checked_sizes(**named: Sequence[int]) -> list[tuple[int, ...]]:
    """The named tuples of sizes; refuses an empty one, and a size that is no positive integer.

    Raises:
        InputError: names the argument, the value and what was expected.

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
    """Refuse what is no whole number, or a smaller one.

    Raises:
        InputError: names the option, its value and what was expected.

    Example:
        >>> check_whole("epochs", 20)
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more")


def choose_device(device: str) -> torch.device:
    """The torch device of a name; ``"auto"`` is a GPU, else the CPU.

    The GPU is the first one; that of its own for each process that ``torchrun`` starts.

    Raises:
        InputError: where there is no such device here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = torch.empty(0, device=device)
        return chosen.to("cpu").new_empty(0, device=chosen.device).device  # which a device without data does not give
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"device {device!r} is not to be had here: give auto, cpu or cuda") from error


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators do not take.

    Raises:
        InputError: where it is no whole number from 0 to 2³² - 1.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}: expected a whole number from 0 to 4294967295")


def as_path(value: object, name: str) -> Path:
    """A path as a user or a file gives it, ``~`` expanded.

    Raises:
        InputError: for what no file system takes: no text, null characters, the home of nobody.

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
        raise InputError(f"{name} is {shown(value)}, which is no path ({error}): give another") from error
    return path
