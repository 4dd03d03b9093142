"""The standard normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vaes.priors.base import Prior


class StandardNormal(Prior):
    """The prior p(z) = N(0, I).

    Args:
        latent_dim: size Z of the latent.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``.

    Example:
        >>> StandardNormal(3)().log_prob(torch.zeros(3))
        tensor(-2.7568)
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.loc: Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """N(0, I)."""
        return dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)

    def score(self, z: Tensor) -> Tensor:
        """-z."""
        return -z

    def precision(self, z: Tensor) -> Tensor:
        """The identity, shape ``(Z, Z)``."""
        return torch.eye(self.latent_dim, dtype=z.dtype, device=z.device)
