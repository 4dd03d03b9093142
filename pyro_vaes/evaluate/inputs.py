"""What every estimate does before it starts: data on the device, seeded draws, Pyro's state left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.vae import LatentVariableModel


def as_input(model: Callable[..., Any], x: Tensor) -> Tensor:
    """X on the model's device.

    Raises:
        InputError: for no data, or data that the model's likelihood refuses.

    Example:
        >>> as_input(vae, x).shape
        torch.Size([4, 1, 8, 8])
    """
    if not len(x):
        raise InputError("x holds no data: give at least one")
    if isinstance(model, nn.Module):
        x = x.to(next(model.parameters(), x).device)
    if isinstance(model, LatentVariableModel):
        if x.dtype == torch.uint8:
            raise InputError("x is uint8: give pixels as a model sees them, such as data.test.x")
        model.likelihood.check(x)
    return x


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within it draws follow the seed; the generators go on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
