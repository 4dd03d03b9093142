"""Categorical distributions over gray levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_vaes.distributions.base import BatchedDistribution
from pyro_vaes.distributions.discretized_logistic import UniformGrid


class GridCategorical(BatchedDistribution):
    """A categorical variable with the values r / (L - 1), r = 0 … L - 1, of probability softmax(logits)ᵣ.

    Args:
        logits: log-probabilities up to a constant.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``logits (..., L)``; batch shape ``(...)``, event shape ``()``.

    Example:
        >>> GridCategorical(torch.zeros(2, 5)).log_prob(torch.tensor([0.0, 0.75])).exp()
        tensor([0.2000, 0.2000])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012  (torch's own form)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], torch.Size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The values r / (L - 1)."""
        return UniformGrid(self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        """Σᵣ softmax(logits)ᵣ r / (L - 1), shape ``(...)``."""
        size = self.logits.shape[-1]
        levels = torch.arange(size, dtype=self.logits.dtype, device=self.logits.device) / (size - 1)
        return self.logits.softmax(-1) @ levels

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws."""
        size = self.logits.shape[-1]
        index = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(
            torch.Size(sample_shape)
        )
        return index.to(self.logits.dtype) / (size - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats."""
        if self._validate_args:
            self._validate_sample(value)
        index = grid_index(value, self.logits.shape[-1])
        shape = torch.broadcast_shapes(index.shape, self.logits.shape[:-1])
        logits, index = self.logits.expand(*shape, -1), index.expand(shape)
        return F.log_softmax(logits, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def grid_index(value: Tensor, num_bins: int) -> Tensor:
    """The index r of each value r / (L - 1).

    Example:
        >>> grid_index(torch.tensor([0.0, 0.25, 1.0]), 5)
        tensor([0, 1, 4])
    """
    return (value * (num_bins - 1)).round().long()
