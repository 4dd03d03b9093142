"""Differences in words: which are beyond their intervals, and which are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vaes.evaluate import mean_interval
from pyro_vaes.evaluate.differences import MeanInterval, describe_difference


class Difference(NamedTuple):
    """How far a system is above its baseline, in nats, and the ends of the 95 % interval."""

    name: str
    baseline: str
    mean: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0 <= self.high


def over_seeds(values: Sequence[float] | Tensor) -> MeanInterval:
    """The mean of one figure per seed, with its 95 % t interval."""
    return mean_interval(torch.as_tensor(values, dtype=torch.float64).unsqueeze(0))


def highest(values: Mapping[str, Sequence[float]]) -> tuple[str, MeanInterval]:
    """The name of the highest mean over seeds, and its margin over the next one, paired over seeds."""
    first, second = sorted(values, key=lambda name: -mean(values[name]))[:2]
    return first, over_seeds([one - other for one, other in zip(values[first], values[second], strict=True)])


def beyond_intervals(differences: Sequence[Difference], of: str = "log p(x)") -> list[str]:
    """A sentence per baseline and sign, the largest difference first."""
    sentences = []
    for baseline in dict.fromkeys(each.baseline for each in differences):
        told = [each for each in differences if each.baseline == baseline and not each.holds_zero]
        for side, found in (("above", [e for e in told if e.mean > 0]), ("below", [e for e in told if e.mean < 0])):
            words = [f"{e.name} {describe_difference(*e[2:])}" for e in sorted(found, key=lambda e: -abs(e.mean))]
            sentences += [f"{of} {side} {baseline}: {', '.join(words)}."] if words else []
    return sentences


def not_distinguishable(differences: Sequence[Difference]) -> list[str]:
    """A sentence per difference whose interval holds 0."""
    return [
        f"{name} is not distinguishable from {baseline}, {mean:+.2f} nats [{low:+.2f}, {high:+.2f}]."
        for name, baseline, mean, low, high in (each for each in differences if each.holds_zero)
    ]
