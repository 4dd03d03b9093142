"""Priors p(z): modules that, called, give a distribution with event shape ``(Z,)``."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.networks.shapes import checked_sizes

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module):
    """Base class of priors p(z).

    A new prior implements :meth:`forward`. Only guides that follow the curvature of log p(x, z), such as
    ``Laplace``, ask for :meth:`score` and :meth:`precision`.

    Args:
        latent_dim: size Z of the latent.

    Raises:
        InputError: where the size is no positive whole number.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        checked_sizes(latent_dim=(latent_dim,))
        self.latent_dim = latent_dim

    def forward(self) -> dist.TorchDistribution:
        """p(z), with batch shape ``()`` and event shape ``(Z,)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward()")

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(z), shape of z; by automatic differentiation unless a prior knows better."""
        return torch.func.grad(lambda value: self().log_prob(value).sum())(z)

    def precision(self, z: Tensor) -> Tensor:
        """A positive definite stand-in for -∇² log p(z), broadcastable to ``(..., Z, Z)``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no precision(z), which this guide needs: "
            "implement it, or take a guide that does not ask for it, such as MeanField"
        )


class StandardNormal(Prior):
    """The prior p(z) = N(0, I).

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
