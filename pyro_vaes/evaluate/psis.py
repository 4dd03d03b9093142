"""Pareto-smoothed importance sampling, by arviz."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

MIN_DRAWS = 25  # with fewer the tail that arviz fits is empty
HIGHEST_K = 0.7  # of the weights' tail; above it their mean cannot be trusted


def unreliable_share(pareto_k: Tensor) -> float:
    """Share of the data whose k-hat is above 0.7, among those of which it is known; NaN if it is known of none.

    Example:
        >>> round(unreliable_share(torch.tensor([0.1, 0.8, 0.9, torch.nan])), 3)
        0.667
    """
    known = pareto_k[~pareto_k.isnan()]
    return (known > HIGHEST_K).double().mean().item()


def pareto_k(log_weights: Tensor) -> Tensor:
    """Pareto k-hat of the tail of S log weights per datum: ``(S, N)`` to ``(N,)``, NaN if there are too few draws.

    Above 0.7, estimates with these weights are unreliable; it is infinite where a weight is not a number.

    Args:
        log_weights: S log weights per datum.

    References:
        Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao, Gabry, 2024).

    Example:
        >>> bool(pareto_k(torch.zeros(3, 2)).isnan().all())
        True
    """
    if len(log_weights) < MIN_DRAWS:
        return torch.full(log_weights.shape[1:], torch.nan, dtype=torch.float64)
    return smoothed_weights(log_weights)[1]


def smoothed_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pareto-smoothed, normalized log weights and their k-hat, by arviz.

    A tail of weights that are equal but for rounding is not smoothed and has a k-hat of 0; where a weight is not a
    number, k-hat is infinite.

    Args:
        log_weights: S log weights per datum, 25 or more.

    Shapes:
        ``log_weights (S, N)`` to ``(S, N)`` and ``(N,)``, both float64 on the CPU.

    Example:
        >>> smoothed, khat = smoothed_weights(torch.zeros(50, 3))
        >>> smoothed[0].exp(), khat
        (tensor([0.0200, 0.0200, 0.0200], dtype=torch.float64), tensor([0., 0., 0.], dtype=torch.float64))
    """
    weights = log_weights.T.double().cpu()
    smoothed, khat = weights.log_softmax(-1), weights.new_zeros(len(weights))
    draws = weights.shape[-1]
    tail = weights.topk(int(min(draws / 5, 3 * draws**0.5)), -1).values
    rounding = torch.finfo(log_weights.dtype).eps ** 0.5  # of log weights that are differences of log densities
    heavy = tail[:, 0] - tail[:, -1] > rounding  # arviz cannot fit constant tails
    if heavy.any():
        with np.errstate(all="ignore"):
            fitted = _psislw(weights[heavy].numpy())
        smoothed[heavy], khat[heavy] = (torch.as_tensor(np.asarray(each, dtype=np.float64)) for each in fitted)
    khat[weights.isnan().any(-1)] = torch.inf
    return smoothed.T, khat


def _psislw(log_weights: np.ndarray) -> Any:
    """arviz's Pareto smoothing, from arviz 0.x or 1.x."""
    import arviz

    if is_arviz_0():
        return arviz.psislw(log_weights)
    from arviz_stats.base import array_stats

    return array_stats.psislw(-log_weights)  # it takes log-likelihoods and smooths the weights 1 / p


def is_arviz_0() -> bool:
    """Whether the installed arviz is a 0.x release."""
    import arviz

    return arviz.__version__.startswith("0.")
