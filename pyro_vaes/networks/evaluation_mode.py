"""Evaluation mode for the time of a computation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluation_mode(*owners: object) -> Iterator[None]:
    """Context manager that puts modules into evaluation mode, and each of their parts back into its own mode on exit.

    Dropout is off inside, and running statistics of batch normalization are used and not updated.

    Args:
        owners: modules, and other callables, which have no mode; with a guide goes the model that it holds as ``vae``.

    Example:
        >>> layer = nn.Dropout()
        >>> with evaluation_mode(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    modules = [each for owner in owners for each in (owner, getattr(owner, "vae", None)) if isinstance(each, nn.Module)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training
