"""A decoder that ignores its latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vaes.validation import checked_sizes


class ConstantDecoder(nn.Module):
    """Learned features that do not depend on z, which turn a likelihood into an unconditional model.

    Args:
        latent_dim: size of the latent.
        event_shape: shape of the features of one datum.

    Shapes:
        ``z (..., Z)`` to ``(..., *event_shape)``.

    Example:
        >>> ConstantDecoder(2, (4, 8, 8))(torch.zeros(5, 3, 2)).shape
        torch.Size([5, 3, 4, 8, 8])
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int]) -> None:
        super().__init__()
        _, event_shape = checked_sizes(latent_dim=(latent_dim,), event_shape=event_shape)
        self.features = nn.Parameter(torch.zeros(event_shape))

    def forward(self, z: Tensor) -> Tensor:
        """The features, for every z."""
        return self.features.expand(*z.shape[:-1], *self.features.shape)
