"""The Poisson likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.likelihoods.counts import CountLikelihood


class Poisson(CountLikelihood):
    """Counts: p(x | f) = Π λˣ e^(-λ) / x!, the features being the log rate, λ = e^f.

    Args:
        size_factors: whether the rate is λ times the size factor of the observation, see
            :class:`~pyro_vaes.likelihoods.counts.CountLikelihood`.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: From ``check``, if data are not counts.

    References:
        On the challenges of learning with inference networks on sparse, high-dimensional data
        (Krishnan, Liang, Hoffman, 2018), for Poisson models of counts under a VAE.

    Example:
        >>> Poisson()(torch.zeros(2, 3)).log_prob(torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 2.0]]))
        tensor([-3.0000, -3.6931])
    """

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent Poisson distributions with these log rates."""
        return self.to_event(dist.Poisson(features.exp()))

    def mean(self, features: Tensor) -> Tensor:
        """λ."""
        return features.exp()

    def fisher(self, features: Tensor) -> Tensor:
        """λ."""
        return features.exp()

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """x - λ."""
        return x - features.exp()
