"""The Student t likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import LocationScale
from pyro_vaes.validation import check_positive


class StudentT(LocationScale):
    """Real data with outliers: p(x | f) = t(x; f, s, ν), the features being the location.

    Args:
        df: ν, above 2, so that there is a variance; small for heavy tails.
        scale: s; by default initialized from the training data such that the standard deviation s √(ν / (ν - 2))
            equals their root mean squared deviation from the per-pixel mean.
        shape: shape of s: ``()`` for a scalar, the event shape for one s per pixel.
        learn: whether s is learned.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If ν is not above 2, or the scale is not positive.

    References:
        Robust Statistical Modeling Using the t Distribution (Lange, Little, Taylor, 1989), also for ν = 4.

    Example:
        >>> StudentT(scale=1.0, learn=False)(torch.zeros(2, 1)).log_prob(torch.tensor([[0.0], [5.0]]))
        tensor([-0.9808, -5.9333])
    """

    kinds = ("pixels", "values")

    def __init__(
        self, df: float = 4.0, scale: float | None = None, shape: Sequence[int] = (), learn: bool = True
    ) -> None:
        super().__init__(scale, shape, learn)
        self.df = check_positive("df", df, "a number above 2, for example df=4.0")
        if self.df <= 2:
            raise InputError(f"df is {df}: expected a number above 2, for example df=4.0")
        self.unit_deviation = math.sqrt(self.df / (self.df - 2))

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent Student t distributions around the features."""
        return self.to_event(dist.StudentT(self.df, features, self.log_scale.exp()))

    def mean(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features

    def fisher(self, features: Tensor) -> Tensor:
        """(ν + 1) / ((ν + 3) s²)."""
        return ((self.df + 1) / (self.df + 3) * (-2 * self.log_scale).exp()).expand_as(features)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(ν + 1) (x - f) / (ν s² + (x - f)²)."""
        deviation = x - features
        return (self.df + 1) * deviation / (self.df * (2 * self.log_scale).exp() + deviation.square())
