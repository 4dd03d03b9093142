"""The Gaussian mixture prior."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal import PrecisionNormal
from pyro_vaes.errors import InputError
from pyro_vaes.priors.base import Prior
from pyro_vaes.validation import checked_sizes


class GaussianMixture(Prior):
    """Mixture prior p(z) = Σₖ πₖ N(z; mₖ, Σₖ) with learned means and covariances, and learned or uniform weights.

    Σₖ = diag sₖ², or of full covariances Σₖ⁻¹ = Lₖ Lₖᵀ with a lower triangular Lₖ of diagonal 1 / sₖ.

    Initially all weights are equal, Σₖ = I/2 and mₖ ~ N(0, I/2), so that components differ and the mixture has, on
    average over the draws of mₖ, the mean and variance of N(0, I).

    Args:
        latent_dim: size Z of the latent.
        components: number K of components.
        learn_weights: whether the weights πₖ are learned; they stay 1/K otherwise.
        full_covariance: whether components have full covariances, in place of diagonal ones.

    Shapes:
        ``logits (K,)``, ``locs (K, Z)``, ``log_scales (K, Z)``; of full covariances ``off_diagonals (K, Z, Z)``, of
        which the part below the diagonal is used.

    Raises:
        InputError: If a size is not a positive integer.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders (Dilokthanakul et al., 2016);
        VAE with a VampPrior (Tomczak, Welling, 2018), baseline MoG; uniform weights and full covariances as in
        Multi-Facet Clustering Variational Autoencoders (Falck et al., 2021).

    Example:
        >>> prior = GaussianMixture(2, components=3)
        >>> prior.precision(torch.zeros(5, 2))[0].detach().round(decimals=4)
        tensor([[2., 0.],
                [0., 2.]])
    """

    def __init__(
        self, latent_dim: int, components: int = 10, learn_weights: bool = True, full_covariance: bool = False
    ) -> None:
        super().__init__(latent_dim)
        checked_sizes(components=(components,))
        self.full_covariance = full_covariance
        weights = torch.zeros(components)
        if learn_weights:
            self.logits: Tensor = nn.Parameter(weights)
        else:
            self.register_buffer("logits", weights)
        self.locs = nn.Parameter(math.sqrt(0.5) * torch.randn(components, latent_dim))
        self.log_scales = nn.Parameter(torch.full((components, latent_dim), 0.5 * math.log(0.5)))
        if full_covariance:
            self.off_diagonals = nn.Parameter(torch.zeros(components, latent_dim, latent_dim))

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
        """Σₖ πₖ N(mₖ, Σₖ)."""
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), self.components())

    def components(self, index: Tensor | None = None) -> dist.TorchDistribution:
        """The components N(mₖ, Σₖ) of some indices k, or all of them; batch shape that of ``index``, or ``(K,)``."""
        parts = [self.locs, self.log_scales, *([self.off_diagonals] if self.full_covariance else [])]
        locs, log_scales, *lower = parts if index is None else [each[index] for each in parts]
        if not self.full_covariance:
            return dist.Normal(locs, log_scales.exp()).to_event(1)
        return PrecisionNormal(locs, lower[0].tril(-1) + torch.diag_embed((-log_scales).exp()))

    def precisions(self) -> Tensor:
        """Σₖ⁻¹, shape ``(K, Z, Z)``."""
        each: Any = self.components()
        if self.full_covariance:
            return each.precision_tril @ each.precision_tril.mT
        return torch.diag_embed(each.variance.reciprocal())

    @torch.no_grad()
    def set_components(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Set the mixture; uniform weights stay, and of covariances what the components have.

        Shapes:
            ``weights (K,)``, ``means (K, Z)``, ``covariances (K, Z, Z)``.
        """
        if isinstance(self.logits, nn.Parameter):
            self.logits.copy_(weights.log())
        self.locs.copy_(means)
        if self.full_covariance:
            factor = torch.linalg.cholesky(torch.linalg.inv(covariances))
            self.off_diagonals.copy_(factor.tril(-1))
            self.log_scales.copy_(-factor.diagonal(dim1=-2, dim2=-1).log())
        else:
            self.log_scales.copy_(0.5 * covariances.diagonal(dim1=-2, dim2=-1).log())

    def score(self, z: Tensor) -> Tensor:
        """Σₖ rₖ(z) Σₖ⁻¹ (mₖ - z), with the responsibilities rₖ(z) = p(k | z)."""
        pulls = (self.precisions() @ (self.locs - z.unsqueeze(-2)).unsqueeze(-1)).squeeze(-1)
        return (self.responsibilities(z).unsqueeze(-1) * pulls).sum(-2)

    def precision(self, z: Tensor) -> Tensor:
        """Σₖ rₖ(z) Σₖ⁻¹, shape ``(..., Z, Z)``.

        -∇² log p equals this minus the covariance of the components' scores under k ~ r(z). Omitting that covariance,
        this project's choice, keeps the precision positive definite; it is exact where one component is responsible.
        """
        return torch.einsum("...k,kij->...ij", self.responsibilities(z), self.precisions())

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(k | z), shape ``(..., K)``."""
        return (self.logits.log_softmax(0) + self.components().log_prob(z.unsqueeze(-2))).softmax(-1)
