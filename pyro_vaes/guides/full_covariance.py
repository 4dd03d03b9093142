"""The full-covariance guide."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.guides.mean_field import positive
from pyro_vaes.vae import VAE, Guide


class FullCovariance(Guide):
    """Amortised normal posterior with a full covariance, q(z | x) = N(μ(x), L(x) L(x)ᵀ).

    The head gives μ and the Z(Z + 1)/2 entries of the lower triangular L, whose diagonal is made positive.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    References:
        An Introduction to Variational Autoencoders, section 2.5.1 (Kingma, Welling, 2019).

    Example:
        >>> guide = FullCovariance(vae, encoder)
        >>> guide.posterior(x).covariance_matrix.shape
        torch.Size([4, 2, 2])
    """

    def __init__(self, vae: VAE, encoder: nn.Module) -> None:
        size = vae.latent_dim
        super().__init__(vae, encoder, outputs=size + size * (size + 1) // 2)
        self.below: Tensor
        self.register_buffer("below", torch.tril_indices(size, size, -1), persistent=False)

    def posterior(self, x: Tensor) -> dist.TorchDistribution:
        """N(μ(x), L(x) L(x)ᵀ)."""
        size = self.vae.latent_dim
        mean, raw_diagonal, below = self.head(self.encoder(x)).split([size, size, self.below.shape[1]], -1)
        factor = torch.diag_embed(positive(raw_diagonal))
        factor[..., self.below[0], self.below[1]] = below
        return dist.MultivariateNormal(mean, scale_tril=factor)
