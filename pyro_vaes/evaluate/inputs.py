"""Validation of data and seeding of draws, common to all estimates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.vae import LatentVariableModel


def as_input(model: Callable[..., Any], x: Tensor) -> Tensor:
    """x on the model's device.

    Raises:
        InputError: If x is empty, or the model's likelihood refuses it.

    Example:
        >>> as_input(vae, x).shape
        torch.Size([4, 1, 8, 8])
    """
    if not len(x):
        raise InputError("x holds no data: give at least one observation")
    if isinstance(model, nn.Module):
        x = x.to(next(model.parameters(), x).device)
    if isinstance(model, LatentVariableModel):
        if x.dtype == torch.uint8:
            raise InputError("x is uint8: give preprocessed pixels, such as data.test.x")
        model.likelihood.check(x)
    return x


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager that seeds torch's generators, and restores their state on exit."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
