"""Schedules of the weight on the KL divergence."""

from __future__ import annotations

import math

from pyro_vaes.errors import InputError
from pyro_vaes.validation import check_whole


class Warmup:
    """Linear schedule of a weight over gradient steps: ``start`` at step 0, ``end`` from step ``steps`` on.

    Args:
        steps: length of the rise, in gradient steps.
        start: weight at the first step.
        end: weight after the rise.

    References:
        Ladder Variational Autoencoders (Sonderby, Raiko, Maaloe, Sonderby, Winther, 2016).

    Example:
        >>> [Warmup(steps=4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0) -> None:
        if steps < 1:
            raise InputError(f"steps is {steps}: expected the number of gradient steps of the warm-up, 1 or more")
        self.steps, self.start, self.end = steps, start, end

    def __call__(self, step: int) -> float:
        """The weight at a step."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


class ExponentialWarmup:
    """Schedule of a weight over gradient steps that nears 1, 1 - exp(-step / steps).

    Args:
        steps: time constant, in gradient steps.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), with 15,000 steps in
        its code.

    Example:
        >>> [round(ExponentialWarmup(steps=100)(step), 3) for step in (0, 100, 1000)]
        [0.0, 0.632, 1.0]
    """

    def __init__(self, steps: int) -> None:
        self.steps = check_whole("steps", steps)

    def __call__(self, step: int) -> float:
        """The weight at a step."""
        return 1 - math.exp(-step / self.steps)
