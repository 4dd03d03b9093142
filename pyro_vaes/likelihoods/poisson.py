"""The Poisson likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood


class Poisson(Likelihood):
    """Counts: p(x | f) = Π λˣ e^(-λ) / x!, the features being the log rate, λ = e^f.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: From :meth:`check`, if data are not counts.

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

    def check(self, x: Tensor) -> None:
        """Check that all values are counts 0, 1, 2 …"""
        other = x[~((x >= 0) & (x == x.round()) & x.isfinite())]
        if other.numel():
            raise InputError(
                f"Poisson needs counts 0, 1, 2 …, but x holds {other[0].item():.4g}: pixels scaled to [0, 1] are not "
                "counts, take the Gaussian or the DiscretizedLogistic likelihood for them"
            )
