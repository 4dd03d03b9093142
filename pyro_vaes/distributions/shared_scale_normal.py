"""Independent normal distributions that share one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints


class SharedScaleNormal(dist.TorchDistribution):
    """Independent normal distributions whose scale is shared by the batch, Π N(xᵢ; locᵢ, scaleᵢ²).

    Equivalent to ``Normal(loc, scale).to_event(event_dim)``, but without logarithms and powers of a scale expanded to
    the size of the batch: three passes over the data instead of eight.

    Args:
        loc: means.
        scale: standard deviations, of any shape that broadcasts to one datum.
        event_dim: number of dimensions of one datum.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``loc (..., *event_shape)``, ``scale ()`` or ``(*event_shape)``.

    Example:
        >>> SharedScaleNormal(torch.zeros(4, 3), torch.tensor(0.5), 1).log_prob(torch.zeros(3))
        tensor([-0.6774, -0.6774, -0.6774, -0.6774])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  (torch's own form)
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, event_dim: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = loc, scale
        batch_dim = loc.dim() - event_dim
        super().__init__(loc.shape[:batch_dim], loc.shape[batch_dim:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        """All real arrays of the event shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: SharedScaleNormal | None = None) -> SharedScaleNormal:
        """The same distribution, broadcast to another batch shape."""
        new = self._get_checked_instance(SharedScaleNormal, _instance)
        shape = torch.Size(batch_shape)
        new.loc, new.scale = self.loc.expand(shape + self.event_shape), self.scale
        super(SharedScaleNormal, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The means, shape ``(..., *event_shape)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variances, shape ``(..., *event_shape)``."""
        return self.scale.square().expand_as(self.loc)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Reparameterized draws."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        size = math.prod(self.event_shape)  # under Pyro's inspection it is a tuple
        dims = tuple(range(-len(self.event_shape), 0))
        deviation = value - self.loc
        if self.scale.dim():
            quadratic = (deviation / self.scale).square().sum(dims)
        else:
            quadratic = deviation.square().sum(dims) / self.scale.square()
        log_scale = self.scale.log().sum() * (size / self.scale.numel())
        return -0.5 * (quadratic + size * math.log(2 * math.pi)) - log_scale
