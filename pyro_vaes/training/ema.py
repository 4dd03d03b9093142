"""Exponential moving average of the weights.

Hand-written, since ``torch.optim.swa_utils.AveragedModel`` copies one whole module, while a guide refers to its model,
so that the averages of both have to be put in their place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.validation import check_whole


class Average:
    """Exponential moving average of weights.

    It starts at the initial weights, and after step t = 1, 2, … it is::

        average ← d · average + (1 - d) · weights,      d = min(decay, (1 + t) / (10 + t))

    so that the first weights are forgotten after a few steps, however near 1 the decay is. Weights that were set anew
    count their steps from then.

    Args:
        weights: the tensors to average, each once.
        decay: the largest d, between 0 and 1.

    Attributes:
        values: the averages, on the device of the weights.
        starts: the step after which each one started.

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
        self._set_starts([0] * len(self.values))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        for start, (values, weights) in self._groups.items():
            t = step - start
            torch._foreach_lerp_(values, weights, 1 - min(self.decay, (1 + t) / (10 + t)))

    def restart(self, weights: Collection[Tensor], step: int) -> None:
        """Start the averages of some weights again, after this step, at their present values."""
        chosen, starts = {id(weight) for weight in weights}, list(self.starts)
        for place, (value, weight) in enumerate(zip(self.values, self.weights, strict=True)):
            if id(weight) in chosen:
                _copy([weight], [value])
                starts[place] = step
        self._set_starts(starts)

    def state_dict(self) -> dict[str, Any]:
        """The averages, on the CPU, and where they started."""
        return {"average": [each.cpu() for each in self.values], "average_starts": self.starts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        _copy(state["average"], self.values)
        starts = state.get("average_starts", [0] * len(self.values))  # older checkpoints have one start
        self._set_starts([check_whole("the start of an average", each, least=0) for each in starts])

    def _set_starts(self, starts: list[int]) -> None:
        """Group the averages by the step after which they started; each group is one operation per step."""
        self.starts, self._groups = starts, dict[int, tuple[list[Tensor], list[Tensor]]]()
        for start, value, weight in zip(starts, self.values, self.weights, strict=True):
            values, weights = self._groups.setdefault(start, ([], []))
            values.append(value)
            weights.append(weight)

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
