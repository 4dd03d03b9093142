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
    """Mixture prior with learnt weights, means and diagonal scales, p(z) = Σₖ πₖ N(z; mₖ, diag sₖ²).

    At first all weights are equal, sₖ² = 1/2 and mₖ ~ N(0, I/2), from torch's generator: components differ, and
    mean and variance of the mixture are, on average over the draw, those of N(0, I).

    Args:
        latent_dim: size Z of the latent.
        components: number K of components.

    Shapes:
        ``logits (K,)``, ``locs (K, Z)``, ``log_scales (K, Z)``.

    Raises:
        InputError: where a size is no positive whole number.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders (Dilokthanakul et al., 2016);
        VAE with a VampPrior (Tomczak, Welling, 2018), whose baseline MoG this is.

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
        """Refuse fewer data than components.

        Raises:
            InputError: names the most that fit.
        """
        if len(self.logits) > len(x):
            raise InputError(
                f"there are {len(self.logits)} components, but only {len(x)} training data: give at most "
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

        -∇² log p is this minus the covariance over k ~ r(z) of the components' scores. Leaving that out, which is
        this project's choice, keeps it positive definite, and exact wherever one component is responsible.
        """
        return torch.diag_embed(self.responsibilities(z) @ (-2 * self.log_scales).exp())

    def responsibilities(self, z: Tensor) -> Tensor:
        """P(k | z), shape ``(..., K)``."""
        return (self.logits.log_softmax(0) + self._components().log_prob(z.unsqueeze(-2))).softmax(-1)

    def _components(self) -> dist.TorchDistribution:
        return dist.Normal(self.locs, self.log_scales.exp()).to_event(1)
