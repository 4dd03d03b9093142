"""The Gaussian mixture prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.priors.base import Prior
from pyro_vaes.validation import checked_sizes


class GaussianMixture(Prior):
    """Mixture prior with learned weights, means and diagonal scales, p(z) = Σₖ πₖ N(z; mₖ, diag sₖ²).

    Initially all weights are equal, sₖ² = 1/2 and mₖ ~ N(0, I/2), so that components differ and the mixture has, on
    average over the draws of mₖ, the mean and variance of N(0, I).

    Args:
        latent_dim: size Z of the latent.
        components: number K of components.

    Shapes:
        ``logits (K,)``, ``locs (K, Z)``, ``log_scales (K, Z)``.

    Raises:
        InputError: If a size is not a positive integer.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders (Dilokthanakul et al., 2016);
        VAE with a VampPrior (Tomczak, Welling, 2018), baseline MoG.

    Example:
        >>> prior = GaussianMixture(2, components=3)
        >>> prior.precision(torch.zeros(5, 2))[0].detach().round(decimals=4)
        tensor([[2., 0.],
                [0., 2.]])
    """

    def __init__(self, latent_dim: int, components: int = 10) -> None:
        super().__init__(latent_dim)
        checked_sizes(components=(components,))
        self.logits = nn.Parameter(torch.zeros(components))
        self.locs = nn.Parameter(math.sqrt(0.5) * torch.randn(components, latent_dim))
        self.log_scales = nn.Parameter(torch.full((components, latent_dim), 0.5 * math.log(0.5)))

    def initialize(self, x: Tensor) -> None:
        """Check that there are at least as many training examples as components.

        Raises:
            InputError: If there are fewer.
        """
        if len(self.logits) > len(x):
            raise InputError(
                f"there are {len(self.logits)} components, but only {len(x)} training examples: give at most "
                f"components={len(x)}, or more data"
            )

    def forward(self) -> dist.TorchDistribution:
        """Σₖ πₖ N(mₖ, diag sₖ²)."""
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), self._components())

    def score(self, z: Tensor) -> Tensor:
        """Σₖ rₖ(z) (mₖ - z) / sₖ², with the responsibilities rₖ(z) = p(k | z)."""
        pulls = (self.locs - z.unsqueeze(-2)) * (-2 * self.log_scales).exp()
        return (self.responsibilities(z).unsqueeze(-1) * pulls).sum(-2)

    def precision(self, z: Tensor) -> Tensor:
        """Σₖ rₖ(z) diag sₖ⁻², shape ``(..., Z, Z)``.

        -∇² log p equals this minus the covariance of the components' scores under k ~ r(z). Omitting that covariance,
        this project's choice, keeps the precision positive definite; it is exact where one component is responsible.
        """
        return torch.diag_embed(self.responsibilities(z) @ (-2 * self.log_scales).exp())

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(k | z), shape ``(..., K)``."""
        return (self.logits.log_softmax(0) + self._components().log_prob(z.unsqueeze(-2))).softmax(-1)

    def _components(self) -> dist.TorchDistribution:
        return dist.Normal(self.locs, self.log_scales.exp()).to_event(1)
