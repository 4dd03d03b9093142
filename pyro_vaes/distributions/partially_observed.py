"""Independent values of which some are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor


class PartiallyObserved(dist.Independent):
    """Independent values, of which ``log_prob`` leaves out the missing ones, NaN: the marginal density of the others.

    Args:
        base_dist: distribution of single values.
        reinterpreted_batch_ndims: number of its batch dimensions, from the right, that are those of one datum.
        neutral: a value in the support, in place of missing ones where a density and its gradient have to be finite.
        validate_args: whether torch checks the arguments.

    Example:
        >>> p = PartiallyObserved(dist.Normal(torch.zeros(3), 1.0), 1)
        >>> p.log_prob(torch.tensor([0.0, torch.nan, 0.0])), dist.Normal(0.0, 1.0).log_prob(torch.zeros(2)).sum()
        (tensor(-1.8379), tensor(-1.8379))
    """

    def __init__(
        self,
        base_dist: dist.TorchDistribution,
        reinterpreted_batch_ndims: int,
        neutral: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        self.neutral = neutral
        super().__init__(base_dist, reinterpreted_batch_ndims, validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution, broadcast to another batch shape."""
        shape = torch.Size(batch_shape) + self.event_shape[: self.reinterpreted_batch_ndims]
        return type(self)(self.base_dist.expand(shape), self.reinterpreted_batch_ndims, self.neutral)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the values that are not missing, in nats."""
        seen = ~value.isnan()
        log_prob = self.base_dist.log_prob(torch.where(seen, value, self.neutral))
        return sum_rightmost(torch.where(seen, log_prob, 0), self.reinterpreted_batch_ndims)
