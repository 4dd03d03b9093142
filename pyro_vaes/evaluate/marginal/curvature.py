"""Gradient and curvature of a log density."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vaes.priors.base import MIN_PRECISION

LogDensity = Callable[[Tensor], Tensor]


def score(log_density: LogDensity, z: Tensor) -> Tensor:
    """∇ log p(z), of the shape of z.

    Args:
        log_density: log p, ``(..., Z)`` to ``(...)``.
        z: the points, ``(..., Z)``.

    Example:
        >>> score(lambda z: -0.5 * z.square().sum(-1), torch.tensor([[1.0, 2.0]]))
        tensor([[-1., -2.]])
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(log_density(z).sum(), z)[0]


def curvature(log_density: LogDensity, z: Tensor) -> Tensor:
    """|H| for the Hessian H of a log density, from central differences of its gradient along each coordinate.

    The eigenvalues of H are replaced by their absolute values, and none is below ``MIN_PRECISION``: the result is
    positive definite, and -H itself where the log density is strictly concave. Differences also see the curvature that
    lies in the kinks of a network of ReLUs, which second derivatives miss.

    Args:
        log_density: log p, ``(S, ..., Z)`` to ``(S, ...)`` for every S.
        z: the points, ``(S, ..., Z)``.

    Returns:
        ``(S, ..., Z, Z)`` in float64; the identity where the gradient is not finite.

    Example:
        >>> curvature(lambda z: -0.5 * (z.square() * torch.tensor([1.0, 4.0])).sum(-1), torch.zeros(1, 2)).round()
        tensor([[[1., 0.],
                 [0., 4.]]], dtype=torch.float64)
    """
    size = z.shape[-1]
    step = torch.finfo(z.dtype).eps ** (1 / 3)
    identity = torch.eye(size, dtype=z.dtype, device=z.device)
    shifts = step * identity.view(size, *[1] * (z.dim() - 1), size)
    ahead, behind = (score(log_density, (z + sign * shifts).flatten(0, 1)).double() for sign in (1, -1))
    hessian = ((ahead - behind) / (2 * step)).unflatten(0, (size, -1)).movedim(0, -2)
    finite = hessian.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.where(finite, 0.5 * (hessian + hessian.mT), identity.double()))
    return (vectors * values.abs().clamp_min(MIN_PRECISION).unsqueeze(-2)) @ vectors.mT
