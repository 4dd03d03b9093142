"""Adaptation of the proposal, until its weights can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vaes.evaluate.estimate import log_mean_exp
from pyro_vaes.evaluate.marginal.draws import Draws, Sampler, pool
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.weights import WeightedMean, temper, weighted_mean

ROUNDS = 7
LEAST_EFFECTIVE = 6  # draws per latent coordinate, down to which weights are tempered
LEAST_LOG_WEIGHT = -10.0  # of a component


class Round(NamedTuple):
    """A proposal and draws from it, of one round.

    Attributes:
        mixture: the Student-t mixture of the proposal.
        draws: the draws.
    """

    mixture: StudentMixture
    draws: Draws

    def take(self, index: Tensor) -> Round:
        """Those of some observations."""
        return Round(self.mixture.take(index), self.draws.take(index))


class Adapted(NamedTuple):
    """The last proposal for each of B observations, and what draws from it say.

    Attributes:
        mixture: the Student-t mixture of the proposal.
        estimate: that of p(x).
        rounds: number of rounds that adapted the proposal, shape ``(B,)``.
    """

    mixture: StudentMixture
    estimate: WeightedMean
    rounds: Tensor


def adapt(sampler: Sampler, mixture: StudentMixture, num_draws: int, tolerance: float) -> Adapted:
    """Adapt the proposals until their weights are good enough, observation by observation.

    Good enough is a k-hat of at most 0.7 and a standard error within the tolerance. A proposal that is good enough is
    held, and fresh draws from it give the estimate, unless their k-hat says otherwise: those that chose it would lean
    towards a p(x) that is too small. All others are adapted, for at most ``ROUNDS`` rounds: the next proposal has the
    moments of all draws so far, weighed by p(x, z) over the equal mixture of all proposals so far.

    Args:
        sampler: draws for B observations.
        mixture: the first proposals.
        num_draws: number S of draws per round and observation.
        tolerance: largest standard error of log p(x), in nats.

    References:
        Adaptive Multiple Importance Sampling (Cornuet, Marin, Mira, Robert, 2012);
        Adaptive Importance Sampling in General Mixture Classes (Cappé, Douc, Guillin, Marin, Robert, 2008);
        Implicitly Adaptive Importance Sampling (Paananen, Piironen, Bürkner, Vehtari, 2021).
    """
    pending = torch.arange(len(mixture.loc), device=mixture.loc.device)
    log_control = mixture.loc.new_full((len(pending),), torch.nan)  # a number where the proposal is held
    last = Adapted(mixture.take(pending), WeightedMean(*log_control.repeat(len(WeightedMean._fields), 1)), 0 * pending)
    history: list[Round] = []
    for _ in range(ROUNDS):
        history.append(Round(mixture, sampler.draw(mixture, num_draws)))
        estimate, held = evaluate(*history[-1], log_control), ~log_control.isnan()
        last.mixture.put(pending, mixture)
        last.estimate.put(pending, estimate)
        good = estimate.reliable & (held | (estimate.stderr <= tolerance))
        left = (~(good & held)).nonzero()[:, 0]
        if not len(left):
            break
        pending, sampler, history = pending[left], sampler.take(left), [each.take(left) for each in history]
        log_control = estimate.log_control.where(good, torch.nan)[left]
        poor = log_control.isnan().nonzero()[:, 0]
        mixture = mixture.take(left)
        mixture.put(poor, match_moments([each.take(poor) for each in history]))
        last.rounds[pending[poor]] += 1
    return last


def evaluate(mixture: StudentMixture, draws: Draws, log_control: Tensor | None = None) -> WeightedMean:
    """The estimate of p(x) by draws from a proposal, with its normal counterpart for a control variate."""
    student, normal = mixture.log_components(draws.z)
    log_proposal = draws.log_proposal(student.logsumexp(-1))
    return weighted_mean(draws.log_joint - log_proposal, normal.logsumexp(-1) - log_proposal, log_control)


def match_moments(history: Sequence[Round]) -> StudentMixture:
    """The last round's mixture with the moments of all draws so far, each component's of those that it answers for.

    Args:
        history: all rounds so far.
    """
    last, draws = history[-1].mixture, pool([each.draws for each in history])
    log_proposals = [draws.log_proposal(each.mixture.log_prob(draws.z)) for each in history]
    least = min(LEAST_EFFECTIVE * draws.z.shape[-1], len(draws.z) / 2)
    weights = temper(draws.log_joint - log_mean_exp(torch.stack(log_proposals)), least)
    shares = weights.unsqueeze(-1) * last.log_components(draws.z)[0].softmax(-1)
    moments = [
        _moments(draws.z, share, loc, scale_tril)
        for share, loc, scale_tril in zip(shares.unbind(-1), last.loc.unbind(1), last.scale_tril.unbind(1), strict=True)
    ]
    loc, covariance = (torch.stack(each, 1) for each in zip(*moments, strict=True))
    log_weights = shares.sum(0).log().clamp_min(LEAST_LOG_WEIGHT).where(last.log_weights.isfinite(), -torch.inf)
    return StudentMixture(log_weights.log_softmax(-1), loc, torch.linalg.cholesky(covariance))


def _moments(z: Tensor, shares: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(B, Z)`` and covariance of the draws by their shares ``(S, B)`` in a component, and of its old ones.

    The old ones count as one effective draw for each of their Z and Z (Z + 1) / 2 parameters.
    """
    size, total = z.shape[-1], shares.sum(0)
    effective = (total.square() / shares.square().sum(0)).nan_to_num(nan=0.0).view(-1, 1, 1)
    weights = (shares / total).nan_to_num(nan=0.0).T.unsqueeze(-1)  # (B, S, 1)
    mean = (weights * z.transpose(0, 1)).sum(1)
    deviation = z.transpose(0, 1) - mean.unsqueeze(1)
    covariance = torch.lerp(
        scale_tril @ scale_tril.mT,
        deviation.mT @ (weights * deviation),
        effective / (effective + size * (size + 1) / 2),
    )
    return torch.lerp(loc, mean, (effective / (effective + size)).squeeze(-1)), covariance
