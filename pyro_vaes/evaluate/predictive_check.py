"""Posterior predictive checks: statistics of the data against those of data that the model replicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating, seeded
from pyro_vaes.traces import observed_site, sample_sites
from pyro_vaes.validation import check_seed, check_whole

CHUNK_DATA = 512

Statistic = Callable[[Tensor], Tensor]


def share_of_zeros(x: Tensor) -> Tensor:
    """Share of the observations that are 0, of each feature.

    Example:
        >>> share_of_zeros(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
        tensor([1.0000, 0.5000])
    """
    return (x == 0).to(x).masked_fill(x.isnan(), torch.nan).nanmean(0)


def variance(x: Tensor) -> Tensor:
    """Variance of each feature over the observations.

    Example:
        >>> variance(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        tensor([2., 0.])
    """
    return (x - x.nanmean(0)).square().nansum(0) / ((~x.isnan()).sum(0) - 1)


#: Statistics of each feature over the observations, by name.
STATISTICS: Mapping[str, Statistic] = {
    "zeros": share_of_zeros,
    "mean": lambda x: x.nanmean(0),
    "variance": variance,
}


@dataclass(frozen=True)
class PredictiveCheck:
    """Statistics T(x) of observations and of R replications of them by the model.

    Attributes:
        observed: T(x) by name, each of any shape, such as ``event_shape``.
        replicated: T of each replication by name, ``(R, *shape)``.
    """

    observed: Mapping[str, Tensor]
    replicated: Mapping[str, Tensor]

    @property
    def p_values(self) -> dict[str, Tensor]:
        """P(T(x_rep) > T(x)) + P(T(x_rep) = T(x)) / 2 by name.

        Values near 0 or 1 say that the model does not replicate T. They are not p-values of a test, since the latents
        of the replications are those of the observations: under the true model they lie closer to 1/2 than uniform
        ones.
        """
        return {
            name: ((draws > self.observed[name]).double() + 0.5 * (draws == self.observed[name]).double()).mean(0)
            for name, draws in self.replicated.items()
        }

    @property
    def means(self) -> dict[str, Tensor]:
        """Mean of T over the replications, by name."""
        return {name: draws.mean(0) for name, draws in self.replicated.items()}


@torch.no_grad()
def predictive_check(
    model: Callable[..., Any],
    x: Tensor,
    guide: Callable[..., Any] | None = None,
    statistics: Mapping[str, Statistic] = STATISTICS,
    num_replications: int = 50,
    *,
    seed: int = 0,
    progress: bool = False,
    mask: Tensor | None = None,
) -> PredictiveCheck:
    """Compare statistics of observations with those of replications by the model.

    A replication draws x_rep ~ p(x | z) with z ~ q(z | x) for each observation, which checks the likelihood, or, of
    no guide, z ~ p(z), which checks the whole model. Checks of counts show whether a likelihood gives as many zeros
    and as much variance as there is: by default the statistics are the share of zeros, the mean and the variance of
    each feature over the observations.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``, one of them observed.
        x: the observations, ``(N, *event_shape)``, such as those of the test split.
        guide: its guide; None for draws of the prior.
        statistics: functions of all observations, ``(N, *event_shape)`` to a tensor of any shape, by name.
        num_replications: number R of replications.
        seed: seed of all draws; torch's global random state is left as it was.
        progress: whether to show a bar.
        mask: True where x was seen, of its shape; statistics get NaN elsewhere, in x and in replications.

    Raises:
        InputError: If there is not exactly one observed site, no statistic is given, or the data are refused.

    References:
        Posterior Predictive Assessment of Model Fitness via Realized Discrepancies (Gelman, Meng, Stern, 1996).

    Example:
        >>> check = predictive_check(vae, x, guide, num_replications=20)
        >>> check.observed["mean"].shape, check.replicated["mean"].shape
        (torch.Size([1, 8, 8]), torch.Size([20, 1, 8, 8]))
    """
    check_whole("num_replications", num_replications)
    check_seed(seed)
    if not statistics:
        raise InputError('statistics is empty: give functions by name, such as {"mean": lambda x: x.mean(0)}')
    x = as_input(model, x, mask)
    missing = x.isnan()
    rounds = tqdm(range(num_replications), desc="replications", disable=not progress)
    with evaluating(model, guide, x=x), seeded(seed, x.device):
        drawn = (_replicate(model, guide, x).masked_fill(missing, torch.nan) for _ in rounds)
        found = [_statistics(statistics, each) for each in drawn]
    replicated = {name: torch.stack([each[name] for each in found]) for name in statistics}
    return PredictiveCheck(_statistics(statistics, x), replicated)


def _statistics(statistics: Mapping[str, Statistic], x: Tensor) -> dict[str, Tensor]:
    return {name: torch.as_tensor(statistic(x)).cpu() for name, statistic in statistics.items()}


def _replicate(model: Callable[..., Any], guide: Callable[..., Any] | None, x: Tensor) -> Tensor:
    """One draw of x_rep for each observation, few at a time."""
    simulated = poutine.uncondition(model)
    parts = []
    for batch in x.split(CHUNK_DATA):
        latents = None if guide is None else poutine.trace(guide).get_trace(batch)
        replayed = simulated if latents is None else poutine.replay(simulated, trace=latents)
        sites = sample_sites(poutine.trace(replayed).get_trace(batch))
        parts.append(sites[observed_site(sites)]["value"])
    return torch.cat(parts)
