"""Checks of the sizes that networks are built from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pyro_vaes.errors import InputError


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


def out_features(encoder: nn.Module) -> int:
    """Size of an encoder's output: its attribute ``out_features``, or that of its last linear layer.

    Raises:
        InputError: where the encoder has neither.

    Example:
        >>> out_features(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
        8
    """
    for module in (encoder, *reversed(list(encoder.modules()))):
        if isinstance(size := getattr(module, "out_features", None), int):
            return size
    raise InputError(
        f"{type(encoder).__name__} does not say how many features it gives: "
        "set its attribute `out_features` to the size of the last dimension of its output"
    )
