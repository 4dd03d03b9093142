"""Exponential moving average of the weights.

Hand-written, since ``torch.optim.swa_utils.AveragedModel`` copies one whole module, while a guide refers to its model,
so that the averages of both have to be put in their place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class Average:
    """Exponential moving average of weights.

    It starts at the initial weights, and after step t = 1, 2, … it is::

        average ← d · average + (1 - d) · weights,      d = min(decay, (1 + t) / (10 + t))

    so that the first weights are forgotten after a few steps, however near 1 the decay is.

    Args:
        weights: the tensors to average, each once.
        decay: the largest d, between 0 and 1.

    Attributes:
        values: the averages, on the device of the weights.

    References:
        Adam: A Method for Stochastic Optimization (Kingma, Ba, 2015), section on temporal averaging.

    Example:
        >>> weights = [torch.zeros(1)]
        >>> average = Average(weights, decay=0.998)
        >>> _ = weights[0].fill_(11)
        >>> average.update(1)
        >>> with average.applied():
        ...     print(weights[0].item())
        9.0
        >>> weights[0].item()
        11.0
    """

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        self.weights, self.decay = list(weights), decay
        self.values = [each.detach().clone() for each in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.weights, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager that puts the averages in place of the weights, and the weights back, to the bit, on exit."""
        raw = [each.detach().clone() for each in self.weights]
        try:
            _copy(self.values, self.weights)
            yield
        finally:
            _copy(raw, self.weights)


@torch.no_grad()
def _copy(values: list[Tensor], to: list[Tensor]) -> None:
    torch._foreach_copy_(to, values)
