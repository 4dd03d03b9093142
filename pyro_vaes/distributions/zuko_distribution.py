"""Distributions of zuko as Pyro's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor
from torch.distributions import constraints


class ZukoDistribution(ZukoToPyro):
    """A distribution of torch as one of Pyro's, such as a flow of zuko.

    Args:
        dist: the distribution.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(2), 1.0)
        >>> ZukoDistribution(torch.distributions.Independent(normal, 1)).sample((3,)).shape
        torch.Size([3, 2])
    """

    @property
    def support(self) -> constraints.Constraint | None:
        """Its own, or of a flow that states none that of its base, which zuko's transforms map to itself."""
        return getattr(self.dist, "base", self.dist).support

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws without gradient."""
        return self.dist.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws with gradient, of a distribution that has them."""
        return self.dist.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Sequence[int], _instance: ZukoDistribution | None = None) -> ZukoDistribution:
        """The same distribution, broadcast to another batch shape."""
        return type(self)(self.dist.expand(torch.Size(batch_shape)))
