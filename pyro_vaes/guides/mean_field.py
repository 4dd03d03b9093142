"""The mean-field guide."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide


class MeanField(Guide):
    """Amortized independent normal posterior, q(z | x) = N(μ(x), diag σ(x)²).

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2014).

    Example:
        >>> guide = MeanField(vae, encoder)
        >>> guide.posterior(x).rsample().shape
        torch.Size([4, 2])
    """

    is_mean_field = True

    def __init__(self, vae: VAE, encoder: nn.Module) -> None:
        super().__init__(vae, encoder, outputs=2 * vae.latent_dim)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ, diag σ²)."""
        return diagonal_normal(parameters[0])


def diagonal_normal(outputs: Tensor) -> dist.TorchDistribution:
    """N(μ, diag σ²) from the outputs of a head, μ and an unconstrained σ, ``(..., B, 2 Z)``.

    Example:
        >>> diagonal_normal(torch.zeros(4, 6)).event_shape
        torch.Size([3])
    """
    mean, raw_scale = outputs.chunk(2, -1)
    return dist.Normal(mean, positive(raw_scale)).to_event(1)
