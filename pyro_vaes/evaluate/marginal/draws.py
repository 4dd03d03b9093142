"""Draws from a proposal, with all that is known of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vaes.evaluate.marginal.guide import GuideDensity
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.evaluate.overflow import without_overflow
from pyro_vaes.given import take

DEFENSIVE = 0.05  # share of the draws that come from the prior, and of those that come from the guide


class Draws(NamedTuple):
    """Draws from a Student-t mixture and, a few, from the prior and the guide.

    Attributes:
        z: the draws, shape ``(S, B, Z)`` in float64.
        log_joint: log p(x, z), shape ``(S, B)``.
        log_defensive: log density of prior and guide, each weighed by its share of the draws, shape ``(S, B)``.
        share: share of the draws that come from the mixture.
    """

    z: Tensor
    log_joint: Tensor
    log_defensive: Tensor
    share: float

    def log_proposal(self, log_mixture: Tensor) -> Tensor:
        """Log density of the proposal whose Student-t mixture has this log density at the draws, ``(S, B)``."""
        return torch.logaddexp(log_mixture + math.log(self.share), self.log_defensive)

    def take(self, index: Tensor) -> Draws:
        """Those of some observations."""
        return Draws(self.z[:, index], self.log_joint[:, index], self.log_defensive[:, index], self.share)


class Sampler:
    """Draws from proposals for a batch: a Student-t mixture, and beside it the prior and the guide.

    Prior and guide are defensive components. The weights p(x, z) / q(z) are no larger than those of the guide alone
    divided by its share, so that they are never much worse; the prior can meet a mode that all ascents missed.

    Args:
        target: log p(x, z) of the batch.
        guide: a guide of the model, or None.

    References:
        Weighted Average Importance Sampling and Defensive Mixture Distributions (Hesterberg, 1995).
    """

    def __init__(self, target: Target, guide: Callable[..., Any] | None) -> None:
        self.target, self._guide = target, guide
        self.guide = None if guide is None else GuideDensity(guide, target)

    def draw(self, mixture: StudentMixture, num_draws: int) -> Draws:
        """Draw a fixed number of times from each part, which keeps the mean of the weights at p(x) exactly."""
        few = math.ceil(DEFENSIVE * num_draws)
        defensive = [self.target.prior_draws(few)]
        if self.guide is not None:
            defensive.append(self.guide.sample(few))
        rest = num_draws - few * len(defensive)
        z = torch.cat([mixture.sample(rest), *(part.double() for part in defensive)])
        z = z.to(self.target.like)  # rounded first, so that all densities are of one point
        z, overflowed = without_overflow(z)
        log_joint, log_defensive = self.target.values(z)
        log_joint = log_joint.masked_fill(overflowed, -math.inf)  # p(x, z) is 0 that far out
        if self.guide is not None:
            log_defensive = torch.logaddexp(log_defensive, self.guide.log_prob(z).double())
        return Draws(z.double(), log_joint, log_defensive + math.log(few / num_draws), rest / num_draws)

    def take(self, index: Tensor) -> Sampler:
        """That of some observations."""
        return Sampler(self.target.take(index), take(self._guide, index))


def pool(draws: Sequence[Draws]) -> Draws:
    """Draws of several rounds as one sample."""
    z, log_joint, log_defensive, shares = zip(*draws, strict=True)
    return Draws(torch.cat(z), torch.cat(log_joint), torch.cat(log_defensive), shares[0])
