"""Mutual information between data and latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.given import split
from pyro_vaes.traces import paired_traces, sample_sites, total


@dataclass(frozen=True)
class MutualInformation:
    """Decomposition of the ELBO's KL, kl = value + marginal_kl, in nats, from one draw per datum.

    Attributes:
        value: I_q(x; z), the mutual information of data and latents.
        stderr: standard error of ``value`` over the data and their draws.
        kl: mean of KL(q(z | x) ‖ p(z)).
        marginal_kl: KL(q(z) ‖ p(z)) of the aggregate posterior.
        limit: log N, an upper bound of ``value``; a ``value`` close to it is only a lower bound.
    """

    value: float
    stderr: float
    kl: float
    marginal_kl: float
    limit: float


@torch.no_grad()
def mutual_information(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    progress: bool = False,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> MutualInformation:
    """Mutual information between data and latents under the guide.

    With the aggregate posterior q(z) = 1/N Σ q(z | xₙ) of the data::

        I_q(x; z) = 1/N Σ KL(q(z | xₙ) ‖ p(z)) - KL(q(z) ‖ p(z)) = E[log q(z | x) - log q(z)]

    It takes one draw of each q(z | xₙ) and its density under all N posteriors, N² densities in batches, so that N is
    best a few thousand. The estimate is unbiased for the empirical distribution of the N observations. For their
    population it is biased downward and at most log N, since q(z) includes each draw's own posterior; excluding it
    would bias it upward.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide.
        x: the data, ``(N, *event_shape)``.
        progress: whether to show a progress bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    Raises:
        InputError: If there are fewer than two observations, or the likelihood refuses them.

    References:
        ELBO Surgery (Hoffman, Johnson, 2016);
        Avoiding Latent Variable Collapse with Generative Skip Models (Dieng, Kim, Rush, Blei, 2019);
        On Variational Bounds of Mutual Information (Poole et al., 2019) for the bias.

    Example:
        >>> information = mutual_information(vae, guide, x)
        >>> information.value < information.limit, round(information.limit, 4)
        (True, 1.3863)
    """
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    if len(x) < 2:
        raise InputError(f"mutual information needs at least 2 observations, but x holds {len(x)}")
    with evaluating(model, guide, x=x):
        draws, log_prior = _draws(model, guide, x)
        own, log_marginal = _densities(guide, x, draws, progress)
    pointwise, kl = own - log_marginal, (own - log_prior).mean().item()
    value = pointwise.mean().item()
    stderr = (pointwise.std() / math.sqrt(len(x))).item()
    return MutualInformation(value, stderr, kl, kl - value, math.log(len(x)))


def _draws(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """One draw of each datum's latents, by site, and their log-density under the model's prior, ``(N,)``."""
    draws: dict[str, list[Tensor]] = {}
    log_prior = []
    for batch, *pair in split(max(1, CHUNK_VALUES // x[0].numel()), x, model, guide):
        model_trace, guide_trace = paired_traces(*pair, batch)
        for name, site in sample_sites(guide_trace).items():
            draws.setdefault(name, []).append(site["value"])
        sites = sample_sites(model_trace).values()
        log_prior.append(total(site["log_prob"] for site in sites if not site["is_observed"]))
    return {name: torch.cat(parts) for name, parts in draws.items()}, torch.cat(log_prior).double()


def _densities(guide: Callable[..., Any], x: Tensor, draws: dict[str, Tensor], progress: bool) -> tuple[Tensor, Tensor]:
    """Each draw's log-density under its own posterior and under the aggregate posterior, both ``(N,)``."""
    width = sum(draw[0].numel() for draw in draws.values())
    batches = list(split(max(1, CHUNK_VALUES // (width * len(x))), x, guide))
    own, summed = [], torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    start = 0
    for batch, view in tqdm(batches, desc="mutual information", disable=not progress):
        log_q = _log_q(view, batch, draws).double()
        own.append(log_q[start : start + len(batch)].diagonal())
        summed = torch.logaddexp(summed, log_q.logsumexp(1))
        start += len(batch)
    return torch.cat(own), summed - math.log(len(x))


def _log_q(guide: Callable[..., Any], batch: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """log q(z | x) of every draw for every datum of the batch, shape ``(N, B)``."""
    values = {name: z.unsqueeze(1).expand(len(z), len(batch), *z.shape[1:]) for name, z in draws.items()}
    with pyro.plate("particles", len(next(iter(draws.values()))), dim=-2):
        trace = poutine.trace(poutine.condition(guide, data=values)).get_trace(batch)
    trace.compute_log_prob()
    return total(site["log_prob"] for site in sample_sites(trace).values())
