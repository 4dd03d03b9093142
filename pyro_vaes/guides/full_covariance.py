"""The full-covariance guide."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide


class FullCovariance(Guide):
    """Amortized normal posterior with a full covariance, q(z | x) = N(μ(x), L(x) L(x)ᵀ).

    The head outputs μ, scales σ and a strictly lower triangular T, with L = diag(σ) (I + T): the correlations are
    parameterized relative to the scales, which shrink by orders of magnitude during training. T is initially 0, the
    mean-field posterior, and stays there for the first 7 tenths of a warm-up; then its weight rises to 1. Trained from
    the start it would absorb any shear of the latents, and the decoder would end worse.

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

    warmup = 1000
    restarts = False  # its covariance rises gradually

    def __init__(self, vae: VAE, encoder: nn.Module) -> None:
        size = vae.latent_dim
        super().__init__(vae, encoder, outputs=size + size * (size + 1) // 2)
        with torch.no_grad():
            self.head.weight[2 * size :] = 0
            self.head.bias[2 * size :] = 0
        self.below: Tensor
        self.register_buffer("below", torch.tril_indices(size, size, -1), persistent=False)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ, L Lᵀ)."""
        size = self.vae.latent_dim
        mean, raw_scale, below = parameters[0].split([size, size, self.below.shape[1]], -1)
        scale = positive(raw_scale)
        factor = torch.diag_embed(scale)
        if self.progress < 1:
            below = max(0.0, 1 - (1 - self.progress) / 0.3) * below
        factor[..., self.below[0], self.below[1]] = scale[..., self.below[0]] * below
        return dist.MultivariateNormal(mean, scale_tril=factor)
