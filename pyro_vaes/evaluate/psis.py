"""Pareto-smoothed importance sampling, by arviz."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

FEWEST_DRAWS = 25  # below them arviz has no tail to fit
ROUNDING = 1e-9  # nats; log weights that differ by less are equal, as those of an exact posterior are


def pareto_k(log_weights: Tensor) -> Tensor:
    """Pareto k-hat of the tail of S log weights a datum: ``(S, N)`` to ``(N,)``, NaN where there are too few draws.

    Above 0.7 what is estimated with the weights cannot be trusted.

    Args:
        log_weights: S of them a datum.

    References:
        Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao, Gabry, 2024).

    Example:
        >>> bool(pareto_k(torch.zeros(3, 2)).isnan().all())
        True
    """
    if len(log_weights) < FEWEST_DRAWS:
        return torch.full(log_weights.shape[1:], torch.nan, dtype=torch.float64)
    return smoothed_weights(log_weights)[1]


def smoothed_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pareto-smoothed, normalised log weights and their k-hat, by arviz.

    A tail of equal weights is left as it is and has a k-hat of 0.

    Args:
        log_weights: S of them a datum, 25 or more.

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
    heavy = tail[:, 0] > tail[:, -1] + ROUNDING  # arviz refuses or fails to fit the others
    if heavy.any():
        with np.errstate(all="ignore"):
            fitted = _psislw(weights[heavy].numpy())
        smoothed[heavy], khat[heavy] = (torch.as_tensor(np.asarray(each, dtype=np.float64)) for each in fitted)
    return smoothed.T, khat


def _psislw(log_weights: np.ndarray) -> Any:
    """Arviz's Pareto smoothing, from either of its lines."""
    import arviz

    if is_first_line():
        return arviz.psislw(log_weights)
    from arviz_stats.base import array_stats

    return array_stats.psislw(-log_weights)  # it takes log-likelihoods and smooths the weights 1 / p


def is_first_line() -> bool:
    """Whether the installed arviz is of its 0.x line."""
    import arviz

    return arviz.__version__.startswith("0.")
