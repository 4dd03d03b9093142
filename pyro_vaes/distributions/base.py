"""Base class of distributions whose parameters begin with the batch shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor


class BatchedDistribution(dist.TorchDistribution):
    """Base class of distributions whose parameters, those of ``arg_constraints``, all begin with the batch shape."""

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution, broadcast to another batch shape."""
        new = self._get_checked_instance(type(self), _instance)
        shape = torch.Size(batch_shape)
        for name in self.arg_constraints:
            value: Tensor = getattr(self, name)
            setattr(new, name, value.expand(shape + value.shape[len(self.batch_shape) :]))
        dist.TorchDistribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new
