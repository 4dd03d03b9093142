"""Likelihoods of data that are standardized within the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import AffineTransform

from pyro_vaes.distributions.partially_observed import PartiallyObserved
from pyro_vaes.errors import look_up
from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.gaussian import Gaussian
from pyro_vaes.likelihoods.heteroscedastic_gaussian import HeteroscedasticGaussian
from pyro_vaes.likelihoods.student_t import StudentT
from pyro_vaes.missing import fill_mean

BASES: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "heteroscedastic-gaussian": HeteroscedasticGaussian,
    "student-t": StudentT,
}


class Standardized(Likelihood):
    """Real data in units of their own, standardized within the model: x = m + d y, where y follows a likelihood p₀.

    The mean m and standard deviation d of each feature are those of the training data; ``fit`` sets them. Encoders take
    the standardized y, while data, draws, means and densities have the original units::

        log p(x | f) = log p₀((x - m) / d | f) - Σᵢ log dᵢ

    Args:
        event_shape: shape of one datum.
        likelihood: p₀, such as ``Gaussian()``.

    Attributes:
        loc: m, of the event shape.
        scale: d, of the event shape; 1 for a feature that does not vary.

    Shapes:
        Features as those of p₀.

    Example:
        >>> likelihood = Standardized((1,), Gaussian(scale=1.0, learn=False))
        >>> likelihood.initialize(torch.tensor([[100.0], [300.0]]))
        >>> likelihood.loc, likelihood.scale, likelihood(torch.zeros(1, 1)).log_prob(torch.tensor([[200.0]]))
        (tensor([200.]), tensor([100.]), tensor([-5.5241]))
    """

    kinds = ("values",)
    loc: Tensor
    scale: Tensor

    def __init__(self, event_shape: Sequence[int], likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood, self.quadratic = likelihood, likelihood.quadratic
        self.features_shape = likelihood.features_shape
        self.register_buffer("loc", torch.zeros(tuple(event_shape)))
        self.register_buffer("scale", torch.ones(tuple(event_shape)))
        self.set_event_dim(len(event_shape))

    @classmethod
    def build(cls, event_shape: Sequence[int], likelihood: str = "gaussian") -> Self:  # type: ignore[override]
        """Standardized data under the ``"gaussian"``, ``"student-t"`` or ``"heteroscedastic-gaussian"`` likelihood.

        Raises:
            InputError: If the likelihood is another one.
        """
        return cls(event_shape, look_up("likelihood of values", likelihood, BASES).build(event_shape))

    def set_event_dim(self, event_dim: int) -> None:
        """Set the number of dimensions of one datum, that of p₀ too.

        Raises:
            InputError: If it was set to another number before, by another model.
        """
        super().set_event_dim(event_dim)
        self.likelihood.set_event_dim(event_dim)

    def initialize(self, x: Tensor) -> None:
        """Set m and d to mean and standard deviation of what was seen, and initialize p₀ from y."""
        filled = fill_mean(x)
        deviation = filled.std(0, correction=0) / (~x.isnan()).to(x).mean(0).sqrt()
        self.loc.copy_(filled.mean(0))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0))
        self.likelihood.initialize(self.encoder_input(x))

    def encoder_input(self, x: Tensor) -> Tensor:
        """y = (x - m) / d."""
        return (x - self.loc) / self.scale

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The distribution of m + d y."""
        p = self.likelihood(features)
        if isinstance(p, PartiallyObserved):
            transform = AffineTransform(self.loc, self.scale)
            return self.to_event(dist.TransformedDistribution(p.base_dist, [transform]))
        transform = AffineTransform(self.loc, self.scale, event_dim=self.loc.dim())
        return dist.TransformedDistribution(p, [transform])

    def mean(self, features: Tensor) -> Tensor:
        """M + d E₀[y | f]."""
        return self.loc + self.scale * self.likelihood.mean(features)

    def fisher(self, features: Tensor) -> Tensor:
        """The information of p₀ in the features."""
        return self.likelihood.fisher(features)

    def seen(self, x: Tensor) -> Tensor:
        """Whether the value of x that a feature of p₀ tells of is not missing."""
        return self.likelihood.seen(x)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """The score of p₀ at y."""
        return self.likelihood.score(features, self.encoder_input(x))
