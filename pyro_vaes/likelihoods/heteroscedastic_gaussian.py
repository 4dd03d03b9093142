"""The Gaussian likelihood with a scale from the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vaes.likelihoods.feature_maps import FeatureMaps
from pyro_vaes.networks.positive import positive


class HeteroscedasticGaussian(FeatureMaps):
    """Real data of varying noise: p(x | f) = N(x; μ, σ²), the features being two maps, μ and s.

    The standard deviation σ = log(1 + eˢ) + 10⁻⁴ of each value depends on the latent. Where the data repeat a value
    exactly, the density has no other bound than this least σ: dequantize pixels.

    Args:
        event_shape: shape of one datum.

    Shapes:
        Features ``(..., 2 C, H, W)`` or ``(..., 2 D)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If features have another shape.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2014), appendix C.2.

    Example:
        >>> likelihood = HeteroscedasticGaussian((1,))
        >>> likelihood(torch.tensor([[0.0, 0.5413], [0.0, 5.0]])).log_prob(torch.zeros(2, 1))  # σ = 1 and 5
        tensor([-0.9190, -2.5297])
    """

    kinds = ("pixels", "values")

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape, num_maps=2)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent normal distributions."""
        mean, raw_scale = self.maps(features)
        return self.to_event(dist.Normal(mean, positive(raw_scale)))

    def mean(self, features: Tensor) -> Tensor:
        """μ."""
        return self.maps(features)[0]

    def fisher(self, features: Tensor) -> Tensor:
        """In μ: 1 / σ². In s: 2 (dσ/ds)² / σ²."""
        _, raw_scale = self.maps(features)
        scale = positive(raw_scale)
        return self.join(scale.square().reciprocal(), 2 * (raw_scale.sigmoid() / scale).square())

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """In μ: (x - μ) / σ². In s: (((x - μ) / σ)² - 1) / σ dσ/ds."""
        mean, raw_scale = self.maps(features)
        scale = positive(raw_scale)
        white = (x - mean) / scale
        return self.join(*torch.broadcast_tensors(white / scale, (white.square() - 1) * raw_scale.sigmoid() / scale))
