"""The sliced Wasserstein distance and its null distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PROJECTIONS, SPLITS, MIN_DRAWS = 50, 100, 20


def distance_and_null(guided: Tensor, reference: Tensor, effective_size: int) -> tuple[Tensor, Tensor]:
    """Distance of one datum's draws ``(M, Z)`` and 95 % quantile of its null, in the reference's coordinates."""
    if effective_size < MIN_DRAWS:
        return (reference.new_tensor(math.nan),) * 2
    half = effective_size // 2
    scale = torch.linalg.cholesky(reference.T.cov().reshape(2 * reference.shape[1:]))
    white = [torch.linalg.solve_triangular(scale, draws.T, upper=False) for draws in (guided, reference)]
    angles = nn.functional.normalize(torch.randn(PROJECTIONS, len(scale)).to(scale), dim=1)
    guided, reference = (angles @ draws for draws in white)
    guided = guided[:, torch.randperm(guided.shape[1])[:half]]
    reference = reference[:, torch.linspace(0, reference.shape[1] - 1, 2 * half).long()]
    ordered, order = reference.sort(1)
    first, rest = zip(*(_halves(ordered, order) for _ in range(SPLITS)), strict=True)
    null = torch.stack([_sliced_wasserstein(*pair) for pair in zip(first, rest, strict=True)])
    return _sliced_wasserstein(guided.sort(1).values, first[0]), null.quantile(0.95)


def _halves(ordered: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Two random halves of draws sorted along each direction, still sorted."""
    chosen = torch.zeros_like(order[0], dtype=torch.bool)
    chosen[torch.randperm(len(chosen))[: len(chosen) // 2]] = True
    inside = chosen[order]
    return ordered[inside].view(len(ordered), -1), ordered[~inside].view(len(ordered), -1)


def _sliced_wasserstein(first: Tensor, second: Tensor) -> Tensor:
    """Root mean squared difference of equally many order statistics along each direction."""
    return (first - second).square().mean().sqrt()
