"""The size of an encoder's output."""

from __future__ import annotations

from torch import nn

from pyro_vaes.errors import InputError


def out_features(encoder: nn.Module) -> int:
    """Size of an encoder's output: its attribute ``out_features``, or that of its last linear layer.

    Raises:
        InputError: If the encoder has neither.

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
