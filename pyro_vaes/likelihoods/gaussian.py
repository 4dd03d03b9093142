"""The Gaussian likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.distributions.shared_scale_normal import SharedScaleNormal
from pyro_vaes.likelihoods.base import LocationScale
from pyro_vaes.missing import nan_is_missing


class Gaussian(LocationScale):
    """Real data: p(x | f) = N(x; f, σ²), the features being the mean.

    Args:
        scale: σ; by default initialized from the training data to the root mean squared deviation from the per-pixel
            mean (Variational Laplace Autoencoders; Park, Kim, Kim; 2019).
        shape: shape of σ: ``()`` for a scalar, the event shape for one σ per pixel.
        learn: whether σ is learned.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Example:
        >>> Gaussian(scale=0.5, learn=False)(torch.zeros(2, 3)).log_prob(torch.zeros(2, 3))
        tensor([-0.6774, -0.6774])
    """

    kinds = ("pixels", "values")
    quadratic = True

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent normal distributions around the features."""
        scale = self.log_scale.exp()
        if nan_is_missing():
            return self.to_event(dist.Normal(features, scale))
        return SharedScaleNormal(features, scale, self._dims(features.dim()))

    def mean(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features

    def fisher(self, features: Tensor) -> Tensor:
        """1 / σ²."""
        return (-2 * self.log_scale).exp().expand_as(features)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(x - f) / σ²."""
        return (x - features) * (-2 * self.log_scale).exp()
