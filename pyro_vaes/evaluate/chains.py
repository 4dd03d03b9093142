"""Diagnostics of Markov chains, by arviz."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.evaluate.psis import is_arviz_0


def r_hat(draws: Tensor) -> Tensor:
    """Rank-normalized split R-hat, plain and folded, of draws ``(chains, S, Z)``: shape ``(Z,)``.

    References:
        Rank-Normalization, Folding, and Localization: An Improved R-hat (Vehtari, Gelman, Simpson, Carpenter,
        Buerkner, 2021).

    Example:
        >>> bool(r_hat(torch.randn(4, 500, 1)) < 1.01), r_hat(torch.zeros(1, 500, 1))
        (True, tensor([nan]))
    """
    if len(draws) < 2:
        return draws.new_full(draws.shape[2:], torch.nan)
    return _by_dimension(_diagnostics().rhat, draws)


def effective_samples(draws: Tensor) -> Tensor:
    """Effective sample size of draws ``(chains, S, Z)``, the smaller of those of mean and variance: ``(Z,)``.

    Example:
        >>> bool(effective_samples(torch.randn(4, 500, 1)) > 1000)
        True
    """
    mean = partial(_diagnostics().ess, method="mean")
    deviation = (draws - draws.mean((0, 1))).square()
    size = torch.minimum(_by_dimension(mean, draws), _by_dimension(mean, deviation))
    constant = draws.amin((0, 1)) == draws.amax((0, 1))
    return size.clamp(max=draws[..., 0].numel()).where(~constant, torch.nan)


def _by_dimension(statistic: Callable[[np.ndarray], Any], draws: Tensor) -> Tensor:
    """A statistic of chains ``(chains, S)``, for each dimension of draws ``(chains, S, Z)``."""
    with np.errstate(all="ignore"):  # the statistic of constant chains is NaN
        return draws.new_tensor([float(statistic(one.numpy())) for one in draws.unbind(-1)])


def _diagnostics() -> Any:
    """arviz's diagnostics of arrays, from arviz 0.x or 1.x."""
    import arviz

    if is_arviz_0():
        return arviz
    from arviz_stats.base import array_stats

    return array_stats
