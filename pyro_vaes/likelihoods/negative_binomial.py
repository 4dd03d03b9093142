"""The negative binomial likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.negative_binomial import NegativeBinomial as MeanDispersion
from pyro_vaes.likelihoods.base import check_shared_shape
from pyro_vaes.likelihoods.counts import CountLikelihood
from pyro_vaes.validation import check_positive

MIN_LOG_DISPERSION = -16.0  # below which counts of float32 are Poisson


class NegativeBinomial(CountLikelihood):
    """Overdispersed counts: the features are the log mean, μ = e^f, and the variance is μ + α μ².

    The dispersion α is learned. As it tends to 0, the likelihood tends to :class:`Poisson`.

    Args:
        shape: shape of α: ``()`` for a scalar, the event shape for one α per feature, which recipes take.
        dispersion: initial α.
        size_factors: whether the mean is μ times the size factor of the observation, see
            :class:`~pyro_vaes.likelihoods.counts.CountLikelihood`.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If the dispersion is not positive; from ``check``, if data are not counts.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez, Regier, Cole, Jordan, Yosef, 2018).

    Example:
        >>> likelihood = NegativeBinomial(dispersion=1.0)
        >>> likelihood(torch.zeros(3, 1)).log_prob(torch.tensor([[0.0], [1.0], [2.0]])).exp()
        tensor([0.5000, 0.2500, 0.1250], grad_fn=<ExpBackward0>)
    """

    def __init__(self, shape: Sequence[int] = (), dispersion: float = 1.0, size_factors: bool = False) -> None:
        super().__init__(size_factors)
        dispersion = check_positive("dispersion", dispersion, "a positive number, for example dispersion=1.0")
        self.log_dispersion = nn.Parameter(torch.full(tuple(shape), math.log(dispersion)))

    @classmethod
    def build(cls, event_shape: Sequence[int], **options: Any) -> Self:
        """The likelihood with one dispersion for each feature of data of this shape, unless told otherwise."""
        return cls(**{"shape": event_shape, **options})

    def probe(self, features_shape: Sequence[int]) -> torch.Size:
        """Shape of one datum, that of its features, to which the dispersion must broadcast.

        Raises:
            InputError: If it does not.
        """
        check_shared_shape(self, "dispersions", self.log_dispersion.shape, features_shape)
        return super().probe(features_shape)

    @property
    def bounded_log_dispersion(self) -> Tensor:
        """log α, bounded from below."""
        return self.log_dispersion.clamp_min(MIN_LOG_DISPERSION)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent negative binomial distributions with these log means."""
        return self.to_event(MeanDispersion(features, self.bounded_log_dispersion))

    def mean(self, features: Tensor) -> Tensor:
        """μ."""
        return features.exp()

    def fisher(self, features: Tensor) -> Tensor:
        """μ / (1 + α μ)."""
        return self._saturation(features)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(x - μ) / (1 + α μ)."""
        above = (features + self.bounded_log_dispersion).sigmoid()
        return x * (1 - above) - self._saturation(features)

    def _saturation(self, features: Tensor) -> Tensor:
        """μ / (1 + α μ) = σ(f + log α) / α, which does not overflow."""
        return (features + self.bounded_log_dispersion).sigmoid() * (-self.bounded_log_dispersion).exp()
