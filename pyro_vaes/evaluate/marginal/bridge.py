"""Annealing from the last proposal to p(x, z), for what importance sampling leaves unsettled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vaes.evaluate.annealing import adapt_schedule, anneal
from pyro_vaes.evaluate.hmc import HMC, State
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.evaluate.marginal.weights import WeightedMean, weighted_mean

NUM_CHAINS, NUM_STEPS, LEAPFROG_STEPS = 100, 100, 5


class Bridge(HMC):
    """The densities q(z)^(1 - β) p(x, z)^β between a proposal q and the target.

    The chains move in the coordinates u of z = μ + L u, in which the heaviest component of q is standard, so that one
    step size serves all of them.

    Args:
        target: log p(x, z) of the batch.
        mixture: q.
    """

    def __init__(self, target: Target, mixture: StudentMixture) -> None:
        super().__init__(LEAPFROG_STEPS)
        self.target, self.mixture = target, mixture
        heaviest = mixture.log_weights.argmax(-1)
        each = torch.arange(len(heaviest), device=heaviest.device)
        self.loc, self.scale_tril = mixture.loc[each, heaviest], mixture.scale_tril[each, heaviest]

    def __call__(self, u: Tensor) -> State:
        """Log q(z), log p(x, z) - log q(z) and their gradients at u, ``(S, B, Z)``."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            z = self.loc + torch.einsum("bij,sbj->sbi", self.scale_tril, u)
            log_proposal = self.mixture.log_prob(z)
            log_ratio = self.target.log_joint(z.to(self.target.like)) - log_proposal
            proposal_score, ratio_score = (
                torch.autograd.grad(value.sum(), u, retain_graph=True)[0] for value in (log_proposal, log_ratio)
            )
        log_ratio = log_ratio.detach().nan_to_num(nan=-math.inf, neginf=-math.inf)  # as of Target.values
        return State(u.detach(), log_proposal.detach(), log_ratio, proposal_score, ratio_score)

    def prior_draws(self, num_chains: int) -> Tensor:
        """Draws from q, as u, ``(S, B, Z)``."""
        deviation = (self.mixture.sample(num_chains) - self.loc).permute(1, 2, 0)
        return torch.linalg.solve_triangular(self.scale_tril, deviation, upper=False).permute(2, 0, 1)


def annealed_mean(target: Target, mixture: StudentMixture) -> WeightedMean:
    """The estimate of p(x) by chains from draws of q to p(x, z), E[w] = p(x).

    Args:
        target: log p(x, z) of the batch.
        mixture: q.

    References:
        Annealed Importance Sampling (Neal, 2001).
    """
    bridge = Bridge(target, mixture)
    schedule = adapt_schedule(bridge, NUM_CHAINS, NUM_STEPS)
    log_weights, _ = anneal(bridge, bridge.prior_draws(NUM_CHAINS), schedule)
    return weighted_mean(log_weights)
