"""Likelihoods of counts with additional zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vaes.errors import look_up
from pyro_vaes.likelihoods.counts import CountLikelihood
from pyro_vaes.likelihoods.feature_maps import FeatureMaps
from pyro_vaes.likelihoods.negative_binomial import NegativeBinomial
from pyro_vaes.likelihoods.poisson import Poisson

BASES: dict[str, type[Poisson] | type[NegativeBinomial]] = {"poisson": Poisson, "negative-binomial": NegativeBinomial}


class ZeroInflated(FeatureMaps, CountLikelihood):
    """Counts that are 0 with a probability π, or else follow a likelihood p₀ of counts.

    The features are two maps: f, the features of p₀, and g, the logit of π = σ(g)::

        p(x | f, g) = π 1[x = 0] + (1 - π) p₀(x | f)

    ``fisher`` is the diagonal of the information, so that a ``Laplace`` guide neglects how f and g of one count
    depend on each other.

    Args:
        event_shape: shape of one datum.
        likelihood: p₀, ``Poisson`` or ``NegativeBinomial``, whose size factors, if it has some, scale its mean alone.

    Shapes:
        Features ``(..., 2 C, H, W)`` or ``(..., 2 D)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If features have another shape; from ``check``, if data are not counts.

    References:
        Zero-inflated Poisson regression, with an application to defects in manufacturing (Lambert, 1992);
        Deep generative modeling for single-cell transcriptomics (Lopez, Regier, Cole, Jordan, Yosef, 2018).

    Example:
        >>> likelihood = ZeroInflated((3,), Poisson())
        >>> likelihood(torch.zeros(6)).log_prob(torch.tensor([0.0, 0.0, 1.0])).exp()  # (0.5 + 0.5 / e)² 0.5 / e
        tensor(0.0860)
    """

    def __init__(self, event_shape: Sequence[int], likelihood: CountLikelihood) -> None:
        super().__init__(event_shape, num_maps=2)
        likelihood.set_event_dim(len(event_shape))
        self.likelihood, self.size_factors = likelihood, likelihood.size_factors

    @classmethod
    def build(  # type: ignore[override]
        cls, event_shape: Sequence[int], likelihood: str = "negative-binomial", size_factors: bool = False
    ) -> Self:
        """Zero inflation of the ``"poisson"`` or ``"negative-binomial"`` likelihood, with or without size factors.

        Raises:
            InputError: If the likelihood is another one.
        """
        base = look_up("likelihood of counts", likelihood, BASES)
        return cls(event_shape, base.build(event_shape, size_factors=size_factors))

    def offset(self, features: Tensor, x: Tensor) -> Tensor:
        """The features with the offset of p₀, which is one of f alone."""
        if not self.size_factors:
            return features
        f, g = self.maps(features)
        return self.join(*torch.broadcast_tensors(self.likelihood.offset(f, x), g))

    def initialize(self, x: Tensor) -> None:
        """Initialize p₀."""
        self.likelihood.initialize(x)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent zero-inflated distributions."""
        f, g = self.maps(features)
        return self.to_event(dist.ZeroInflatedDistribution(self._counts(f), gate_logits=g))

    def mean(self, features: Tensor) -> Tensor:
        """(1 - π) E₀[x | f]."""
        f, g = self.maps(features)
        return (-g).sigmoid() * self.likelihood.mean(f)

    def fisher(self, features: Tensor) -> Tensor:
        """In f and g, with P = p(0 | f, g) and ρ = π / P, the probability that a zero is an additional one.

        In f: (1 - π) (I₀ - p₀(0) s₀² ρ), where I₀ and s₀ are the information and the score at 0 of p₀.
        In g: π² (1 - P) / P.
        """
        f, g = self.maps(features)
        at_zero, extra = self._zeros(f, g)
        score = self.likelihood.score(f, torch.zeros_like(f))
        of_f = (-g).sigmoid() * (self.likelihood.fisher(f) - (at_zero.exp() * extra) * score.square())
        positive = (-g).sigmoid() * -torch.expm1(at_zero)  # P(x > 0)
        return self.join(of_f, g.sigmoid() * extra * positive)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """In f: the score of p₀, at zeros times 1 - ρ; in g: -π, at zeros ρ - π."""
        f, g = self.maps(features)
        _, extra = self._zeros(f, g)
        extra = extra * (x == 0)
        return self.join((1 - extra) * self.likelihood.score(f, x), extra - g.sigmoid())

    def _counts(self, f: Tensor) -> dist.TorchDistribution:
        """p₀ of single counts."""
        return self.likelihood(f).base_dist

    def _zeros(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """log p₀(0 | f) and ρ = π / P."""
        at_zero = self._counts(f).log_prob(torch.zeros_like(f))
        return at_zero, torch.sigmoid(g - at_zero)
