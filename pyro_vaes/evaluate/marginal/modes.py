"""The first proposal: a component at each distinct mode."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.marginal.climb import Ends, climb
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.evaluate.marginal.weights import temper
from pyro_vaes.evaluate.overflow import without_overflow

PRIOR_DRAWS = 64  # of which some are where ascents start
PRIOR_STARTS, MOST_PRIOR_STARTS = 8, 32  # the more, the fewer dimensions, where an ascent costs little
GUIDE_STARTS = 4
MOST_MODES = 8
NEGLIGIBLE = 10.0  # nats of evidence below that of the best mode
LEAST_WEIGHT = 0.03  # of a mode that is kept, since the normal approximation may be far off


def propose(sampler: Sampler) -> StudentMixture:
    """A Student-t mixture at the modes of p(z | x), each with the curvature there.

    Ascents start from likely draws of the prior, and from draws of the guide and their mean. A mode's weight is the
    evidence of the normal distribution there, p(x, z) det(2π Λ⁻¹)^½.

    Args:
        sampler: draws for the batch.

    Raises:
        InputError: If log p(x, z) is finite at no start.
    """
    starts = [_prior_starts(sampler.target)]
    if sampler.guide is not None:
        drawn, _ = without_overflow(sampler.guide.sample(GUIDE_STARTS).to(sampler.target.like))
        starts += [drawn, drawn.mean(0, keepdim=True)]
    ends = climb(sampler.target, torch.cat(starts))
    if impossible := int((~ends.log_joint.isfinite()).all(0).sum()):
        raise InputError(
            f"log p(x, z) is not finite for {impossible} of {len(sampler.target.x)} observations, wherever it was "
            "tried: check the model's weights and the range of x"
        )
    return _at_modes(ends)


def _prior_starts(target: Target) -> Tensor:
    """Draws of the prior, chosen by the likelihood to the power of a temperature that leaves a choice."""
    drawn, _ = without_overflow(target.prior_draws(PRIOR_DRAWS))
    log_joint, log_prior = target.values(drawn)
    weights = temper(log_joint - log_prior, PRIOR_DRAWS / 4)
    num_starts = max(PRIOR_STARTS, MOST_PRIOR_STARTS // target.latent_dim)
    chosen = weights.nan_to_num(nan=1.0).T.multinomial(num_starts).T  # at random where all have the likelihood 0
    return drawn.take_along_dim(chosen.unsqueeze(-1), 0)


def _at_modes(ends: Ends) -> StudentMixture:
    """Components at the distinct ends, the one with the most evidence first."""
    possible = ends.log_joint.isfinite()[..., None, None]
    precision = ends.precision.where(possible, torch.eye(ends.z.shape[-1]).to(ends.precision))
    log_det = 2 * torch.linalg.cholesky(precision).diagonal(dim1=-2, dim2=-1).log().sum(-1)
    evidence = ends.log_joint - 0.5 * (log_det - ends.z.shape[-1] * math.log(2 * math.pi))
    evidence, order = evidence.sort(0, descending=True)
    z = ends.z.take_along_dim(order.unsqueeze(-1), 0)
    precision = precision.take_along_dim(order[..., None, None], 0)
    distinct = _distinct(z, precision) & (evidence > evidence[0] - NEGLIGIBLE)
    evidence, order = evidence.where(distinct, -math.inf).sort(0, descending=True)
    most = min(MOST_MODES, int(distinct.sum(0).max()))
    evidence, order = evidence[:most].T, order[:most].T
    z, precision = z.transpose(0, 1), precision.transpose(0, 1)
    weights = evidence.softmax(-1).clamp_min(LEAST_WEIGHT).where(evidence > -math.inf, 0)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision.take_along_dim(order[..., None, None], 1)))
    return StudentMixture(
        log_weights=(weights / weights.sum(-1, keepdim=True)).log(),
        loc=z.take_along_dim(order.unsqueeze(-1), 1),
        scale_tril=torch.linalg.cholesky(covariance),
    )


def _distinct(z: Tensor, precision: Tensor) -> Tensor:
    """Whether each end ``(K, B, Z)`` lies outside the bulk of the normal distributions at the ends kept before it."""
    size = z.shape[-1]
    kept = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
    for k in range(1, len(z)):
        apart = z[k] - z[:k]
        squared = torch.einsum("kbi,kbij,kbj->kb", apart, precision[:k], apart)
        kept[k] = ((squared > size) | ~kept[:k]).all(0)
    return kept
