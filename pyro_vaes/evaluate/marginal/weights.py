"""Estimates of p(x) from importance weights, and their diagnostics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vaes.evaluate.estimate import log_mean_exp
from pyro_vaes.evaluate.psis import HIGHEST_K, pareto_k

LIGHT = 5.0  # times the mean: weights that stay below have no tail to speak of, whatever its shape
MOST_CONTROL = 2.0  # coefficient of the control variate over p(x), which is near 1 where it helps
BISECTIONS = 30  # of a temperature


class WeightedMean(NamedTuple):
    """An estimate of p(x) for each observation.

    Attributes:
        log_p: log of the estimate, in nats, shape ``(B,)``.
        stderr: its standard error, that of the mean weight relative to the mean, shape ``(B,)``.
        pareto_k: k-hat of the weights, shape ``(B,)``; 0 where none is larger than 5 times their mean, since k-hat
            says nothing of a tail's size: of S such weights, a tail that is as heavy as k-hat 0.8 may have missed no
            more than about 25 / S of p(x).
        effective_samples: (Σ w)² / Σ w², shape ``(B,)``.
        log_control: log of the control variate's coefficient, shape ``(B,)``.
    """

    log_p: Tensor
    stderr: Tensor
    pareto_k: Tensor
    effective_samples: Tensor
    log_control: Tensor

    @property
    def reliable(self) -> Tensor:
        """Whether k-hat is at most 0.7, shape ``(B,)``."""
        return self.pareto_k <= HIGHEST_K

    def take(self, index: Tensor) -> WeightedMean:
        """The estimates of some observations."""
        return WeightedMean(*(each[index] for each in self))

    def put(self, index: Tensor, part: WeightedMean) -> None:
        """Replace the estimates of some observations."""
        for mine, new in zip(self, part, strict=True):
            mine[index] = new


def weighted_mean(
    log_weights: Tensor, log_ratio: Tensor | None = None, log_control: Tensor | None = None
) -> WeightedMean:
    """The mean of importance weights w, less the part of its noise that a control variate g knows.

    g is the density of a normal mixture over that of the proposal, which has the mean 1 exactly, so that::

        p(x) = E[w - c (g - 1)]

    for every c that is not chosen by the same draws. Where p(z | x) is that normal mixture, w is p(x) g, and c = p(x)
    leaves no noise at all.

    Args:
        log_weights: log w, ``(S, B)``.
        log_ratio: log g, ``(S, B)``; None for no control variate.
        log_control: log c, ``(B,)``, of other draws from the same proposal; where it is NaN, it is fitted to these by
            least squares, and left out where their tail is too heavy.

    References:
        Safe and Effective Importance Sampling (Owen, Zhou, 2000).

    Example:
        >>> log_ratio = torch.randn(100, 2)
        >>> weighted_mean(3 + log_ratio, log_ratio).stderr < 1e-6
        tensor([True, True])
    """
    log_mean = log_mean_exp(log_weights)
    weights = (log_weights - log_mean).exp()  # of mean 1
    khat = torch.where(weights.amax(0) <= LIGHT, 0, pareto_k(log_weights).to(log_weights))
    ratio, control = weights, weights.new_zeros(weights.shape[1:])
    if log_ratio is not None:
        ratio = log_ratio.exp()
        control = _slope(weights, ratio).where(khat <= HIGHEST_K, 0)
    if log_control is not None:
        control = control.where(log_control.isnan(), (log_control - log_mean).exp())
    control = control.clamp(0, MOST_CONTROL)
    adjusted = weights - control * (ratio - 1)
    mean = adjusted.mean(0)
    return WeightedMean(
        log_p=log_mean + mean.log(),
        stderr=adjusted.std(0) / (len(weights) ** 0.5 * mean),
        pareto_k=khat,
        effective_samples=weights.sum(0).square() / weights.square().sum(0),
        log_control=log_mean + control.log(),
    )


def temper(log_weights: Tensor, least: float) -> Tensor:
    """Weights to the power of the largest temperature τ ≤ 1 that leaves enough effective draws, with the sum 1.

    Args:
        log_weights: ``(S, B)``.
        least: least number of effective draws, (Σ w^τ)² / Σ w^2τ.

    Example:
        >>> round(temper(torch.tensor([[4.0], [0.0], [0.0]]), least=2.0).square().sum().reciprocal().item(), 3)
        2.0
    """
    low, high = torch.zeros_like(log_weights[0]), torch.ones_like(log_weights[0])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = 1 / (middle * log_weights).softmax(0).square().sum(0) >= least
        low, high = middle.where(enough, low), high.where(enough, middle)
    return (high * log_weights).softmax(0)


def _slope(values: Tensor, regressor: Tensor) -> Tensor:
    """Least squares slope over the first dimension; 0 where the regressor does not vary."""
    centered = regressor - regressor.mean(0)
    return ((values * centered).sum(0) / centered.square().sum(0)).nan_to_num(nan=0.0)
