"""The discretized logistic distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CHUNK_VALUES = 2**20  # maximum number of values in one chunk of edges


class RoundedLogistic(dist.TorchDistribution):
    """Independent logistic variables, each rounded to the nearest of the values r / (L - 1), r = 0 … L - 1.

    Args:
        loc: locations.
        scale: scales, of any shape that broadcasts to one datum.
        num_bins: number L of values.
        event_dim: number of dimensions of one datum.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``loc (..., *event_shape)``, ``scale ()`` or ``(*event_shape)``.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  (torch's own form)

    def __init__(
        self, loc: Tensor, scale: Tensor, num_bins: int, event_dim: int, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.num_bins = loc, scale, num_bins
        batch_dim = loc.dim() - event_dim
        super().__init__(loc.shape[:batch_dim], loc.shape[batch_dim:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """Arrays of the values r / (L - 1), of the event shape."""
        return constraints.independent(UniformGrid(self.num_bins), len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: RoundedLogistic | None = None) -> RoundedLogistic:
        """The same distribution, broadcast to another batch shape."""
        new = self._get_checked_instance(RoundedLogistic, _instance)
        shape = torch.Size(batch_shape)
        new.loc, new.scale, new.num_bins = self.loc.expand(shape + self.event_shape), self.scale, self.num_bins
        super(RoundedLogistic, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Σⱼ P(x above edge j) / (L - 1), shape ``(..., *event_shape)``."""
        above = sum_over_edges(lambda _, at, __: 1 - at, self.loc, self.scale, self.num_bins)
        return above / (self.num_bins - 1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, by the inverse CDF."""
        shape = self._extended_shape(torch.Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        value = self.loc + self.scale * uniform.logit(eps=torch.finfo(uniform.dtype).tiny)
        return (value * (self.num_bins - 1)).round().clamp(0, self.num_bins - 1) / (self.num_bins - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats.

        σ(a) - σ(b) = σ(a) σ(-b) (1 - e^(b - a)), whose logarithm does not cancel even in the tails.
        """
        if self._validate_args:
            self._validate_sample(value)
        upper, lower, top, bottom = bin_edges(value, self.loc, self.scale, self.num_bins)
        width = torch.log(-torch.expm1(-1 / (self.scale * (self.num_bins - 1))))
        log_prob = F.logsigmoid(upper).masked_fill(top, 0) + F.logsigmoid(-lower).masked_fill(bottom, 0)
        log_prob = log_prob + width.expand_as(log_prob).masked_fill(top | bottom, 0)
        return sum_rightmost(log_prob, len(self.event_shape))


class UniformGrid(constraints.Constraint):
    """The values r / (L - 1), up to float32 rounding."""

    is_discrete = True

    def __init__(self, num_bins: int) -> None:
        self.num_bins = num_bins
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is on the grid."""
        index = value * (self.num_bins - 1)
        return (value >= 0) & (value <= 1) & ((index - index.round()).abs() < 0.01)


def bin_edges(x: Tensor, loc: Tensor, scale: Tensor, num_bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardized upper and lower edge of the bin of x, and whether it is the top or the bottom bin."""
    half = 0.5 / (num_bins - 1)
    deviation = x - loc
    return (deviation + half) / scale, (deviation - half) / scale, x > 1 - half, x < half


def sum_over_edges(
    term: Callable[[Tensor, Tensor, Tensor], Tensor], loc: Tensor, scale: Tensor, num_bins: int
) -> Tensor:
    """Σⱼ term(F(eⱼ₋₁), F(eⱼ), F(eⱼ₊₁)) over the inner edges, F the CDF, which is 0 and 1 at the two outer edges.

    It is computed in chunks of edges and recomputed for the gradient, which bounds the memory.
    """
    count = num_bins - 1
    edges = (torch.arange(count, dtype=loc.dtype, device=loc.device) + 0.5) / count

    def part(loc: Tensor, scale: Tensor, first: int, last: int) -> Tensor:
        near = edges[max(first - 1, 0) : last + 1]
        cdf = ((near - loc.unsqueeze(-1)) / scale.unsqueeze(-1)).sigmoid()
        cdf = F.pad(cdf, (int(first == 0), 0))
        cdf = F.pad(cdf, (0, int(last == count)), value=1.0)
        return term(cdf[..., :-2], cdf[..., 1:-1], cdf[..., 2:]).sum(-1)

    size = max(1, CHUNK_VALUES // max(1, loc.numel()))
    total = torch.zeros_like(loc)
    for first in range(0, count, size):
        last = min(first + size, count)
        total = total + checkpoint(part, loc, scale, first, last, use_reentrant=False, preserve_rng_state=False)
    return total
