"""Ascent of log p(x, z) from many starts of many observations in one batch."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.marginal.target import Target

MOST_STEPS = 100
TOLERANCE = 1e-3  # nats; a start that gains less has arrived
LENGTHS = tuple(4.0**-power for power in range(6))  # of a step, all of which are tried


class Ends(NamedTuple):
    """End points of the ascents.

    Attributes:
        z: the points, shape ``(K, B, Z)`` in float64.
        log_joint: log p(x, z), shape ``(K, B)``.
        precision: a positive definite stand-in for -∇² log p(x, z), shape ``(K, B, Z, Z)``.
    """

    z: Tensor
    log_joint: Tensor
    precision: Tensor


def climb(target: Target, starts: Tensor) -> Ends:
    """Ascend log p(x, z) from K starts per observation.

    Newton steps where the target knows its curvature, BFGS steps elsewhere; of each, the best of several lengths.
    Whatever has arrived costs nothing more.

    Args:
        target: log p(x, z) of B observations.
        starts: ``(K, B, Z)``.
    """
    num_starts, batch, size = starts.shape
    observation = torch.arange(batch, device=starts.device).repeat(num_starts)
    few = max(1, CHUNK_VALUES // (target.x[0].numel() * size))  # the Jacobian is the largest tensor
    ends = []
    for index, z in zip(observation.split(few), starts.flatten(0, 1).split(few), strict=True):
        part = target.take(index)
        z, log_joint = _ascend(part, z)
        ends.append((z.double(), log_joint, part.precision(z.unsqueeze(0))[0]))
    return Ends(*(torch.cat(each).unflatten(0, (num_starts, batch)) for each in zip(*ends, strict=True)))


def _ascend(target: Target, z: Tensor) -> tuple[Tensor, Tensor]:
    """The ends ``(P, Z)`` of ascents of P observations from one start each, and log p(x, z) there, ``(P,)``."""
    z, log_joint = z.clone(), target.values(z.unsqueeze(0))[0][0]
    method: _Method = _Newton() if target.has_precision else _BFGS(z)
    lengths = z.new_tensor(LENGTHS).view(-1, 1, 1)
    moving = torch.arange(len(z), device=z.device)
    for _ in range(MOST_STEPS):
        part, here = target.take(moving), z[moving]
        direction = method.direction(part, here, part.score(here.unsqueeze(0))[0].double(), moving)
        tried = here + lengths * direction.to(here)
        best, length = part.values(tried)[0].max(0)
        gain = (best - log_joint[moving]).nan_to_num(nan=0.0)  # between two points of density 0
        up = gain > 0
        z[moving[up]] = tried[length[up], up.nonzero()[:, 0]]
        log_joint[moving[up]] = best[up]
        moving = moving[gain > TOLERANCE]
        if not len(moving):
            break
    return z, log_joint


class _Method(Protocol):
    """Directions of ascent."""

    def direction(self, target: Target, z: Tensor, score: Tensor, index: Tensor) -> Tensor:
        """Direction ``(P, Z)`` at z of the ascents of this index, from ∇ log p(x, z)."""


class _Newton:
    """Λ⁻¹ ∇ log p(x, z)."""

    def direction(self, target: Target, z: Tensor, score: Tensor, index: Tensor) -> Tensor:
        factor = torch.linalg.cholesky_ex(target.precision(z.unsqueeze(0))[0]).L
        return torch.cholesky_solve(score.unsqueeze(-1), factor).squeeze(-1)


class _BFGS:
    """Λ⁻¹ ∇ log p(x, z), with Λ⁻¹ learnt from how the gradient changed along the steps so far.

    References: Numerical Optimization (Nocedal, Wright, 2006), chapter 6.
    """

    def __init__(self, starts: Tensor) -> None:
        self.inverse = torch.eye(starts.shape[-1], dtype=torch.float64, device=starts.device).repeat(len(starts), 1, 1)
        self.z = torch.full_like(starts, math.nan, dtype=torch.float64)
        self.score = self.z.clone()

    def direction(self, target: Target, z: Tensor, score: Tensor, index: Tensor) -> Tensor:
        inverse = self._updated(self.inverse[index], z - self.z[index], self.score[index] - score)
        first = self.z[index, :1].isnan().unsqueeze(-1)
        length = score.norm(dim=-1).clamp_min(1).view(-1, 1, 1)
        inverse = torch.where(first, self.inverse[index] / length, inverse)
        self.inverse[index], self.z[index], self.score[index] = inverse, z.double(), score
        return (inverse @ score.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    def _updated(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
        """(I - ρ s yᵀ) Λ⁻¹ (I - ρ y sᵀ) + ρ s sᵀ with ρ = 1 / yᵀ s, where the curvature yᵀ s is positive."""
        bend = (step * change).sum(-1)
        rho = 1 / bend.view(-1, 1, 1)
        outer = step.unsqueeze(-1) * step.unsqueeze(-2)
        left = torch.eye(step.shape[-1]).to(inverse) - rho * step.unsqueeze(-1) * change.unsqueeze(-2)
        updated = left @ inverse @ left.mT + rho * outer
        return torch.where((bend > 0).view(-1, 1, 1), updated, inverse)
