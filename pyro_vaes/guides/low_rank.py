"""The low-rank guide."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import checked_sizes


class LowRank(Guide):
    """Amortized normal posterior whose covariance is diagonal plus low rank, N(μ(x), diag σ(x)² + F(x) F(x)ᵀ).

    Between ``MeanField`` (rank 0) and ``FullCovariance``: Z (2 + rank) outputs per datum, and a density in O(Z rank²).
    The head outputs μ, σ and A, with F = diag(σ) A relative to the scales, which shrink by orders of magnitude during
    training. A is initially 0, the mean-field posterior; the noise of the draws moves it from there.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        rank: number of columns of F, each a direction of correlated variation of the latents.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If the rank is not a positive integer.

    References:
        Gaussian Variational Approximation with a Factor Covariance Structure (Ong, Nott, Smith, 2018).

    Example:
        >>> q = LowRank(vae, encoder, rank=1).posterior(x)
        >>> q.cov_factor.shape, q.covariance_matrix.shape
        (torch.Size([4, 2, 1]), torch.Size([4, 2, 2]))
    """

    def __init__(self, vae: VAE, encoder: nn.Module, rank: int = 2) -> None:
        checked_sizes(rank=(rank,))
        super().__init__(vae, encoder, outputs=vae.latent_dim * (2 + rank))
        self.rank = rank
        with torch.no_grad():
            self.head.weight[2 * vae.latent_dim :] = 0
            self.head.bias[2 * vae.latent_dim :] = 0

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ, diag σ² + F Fᵀ)."""
        mean, raw_scale, *columns = parameters[0].unflatten(-1, (2 + self.rank, -1)).unbind(-2)
        scale = positive(raw_scale)
        return dist.LowRankMultivariateNormal(mean, scale.unsqueeze(-1) * torch.stack(columns, -1), scale.square())
