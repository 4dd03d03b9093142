"""Posterior draws and their importance weights as arviz data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.psis import MIN_DRAWS, is_arviz_0, smoothed_weights
from pyro_vaes.given import split
from pyro_vaes.traces import paired_traces, sample_sites, total

Groups = dict[str, dict[str, Tensor]]  # group, variable, values


@torch.no_grad()
def to_arviz(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    num_samples: int = 1000,
    num_chains: int = 4,
    resample: bool = False,
    progress: bool = False,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> Any:
    """Draws of a guide with their densities and Pareto-smoothed importance weights, as arviz data.

    ======================  ==================================================================================
    group                   variables
    ======================  ==================================================================================
    ``posterior``           each latent site: draws, ``(chain, draw, datum, *event)``
    ``log_likelihood``      each observed site: log p(x | z), ``(chain, draw, datum)``
    ``sample_stats``        ``lp`` = log p(x, z) and ``log_q`` = log q(z | x), ``(chain, draw, datum)``
    ``psis``                ``log_weight``, smoothed, normalized over a datum's draws, ``(chain, draw, datum)``;
                            ``pareto_k``, ``(datum)``: above 0.7 the weights are unreliable
    ======================  ==================================================================================

    The draws are independent; chains only partition them. With ``resample`` each chain is resampled from its own draws
    by their weights, so that rank and forest plots show the corrected posterior, and disagreement of the chains
    (R-hat) reveals unreliable weights; ``log_weight`` is then constant, and ``pareto_k`` that of the original weights.

    All draws are held in memory, which suits tens or hundreds of observations. The latents are local, so that the
    posterior of z without its datum is the prior: arviz's ``loo`` then estimates log p(x) by the harmonic mean of
    p(x | z), and only for draws of the exact posterior. Its k-hat is usually high; :func:`log_likelihood` is a better
    estimate.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per datum, over all chains.
        num_chains: number of chains into which the draws are divided.
        resample: whether to resample the draws by their weights.
        progress: whether to show a progress bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; ``log_likelihood`` is then log p(x_seen | z).

    Returns:
        ``arviz.InferenceData`` for arviz 0.x, an ``xarray.DataTree`` of the same groups for arviz 1.0 or later.

    Raises:
        InputError: If there are too few samples, they do not divide into chains, or the likelihood refuses the data.

    References:
        Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao, Gabry, 2024).

    Example:
        >>> draws = to_arviz(vae, guide, x, num_samples=100)
        >>> dict(draws.posterior.sizes)
        {'chain': 4, 'draw': 25, 'datum': 4, 'z_dim_0': 2}
    """
    if num_samples < MIN_DRAWS or num_chains < 1 or num_samples % num_chains:
        raise InputError(
            f"{num_samples} samples in {num_chains} chains: expected at least {MIN_DRAWS} samples, "
            "a multiple of the number of chains"
        )
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    batches = list(split(max(1, CHUNK_VALUES // (x[0].numel() * num_samples)), x, model, guide))
    with evaluating(model, guide, x=x):
        parts = [
            _draws(view, start, batch, num_samples)
            for batch, view, start in tqdm(batches, "draws", disable=not progress)
        ]
    groups = _joined(parts, dim=1)
    stats = groups["sample_stats"]
    log_weight, khat = smoothed_weights(stats["lp"] - stats["log_q"])
    groups["psis"] = {"log_weight": log_weight}
    groups = _each(groups, lambda value: value.cpu().unflatten(0, (num_chains, -1)))
    if resample:
        groups = _resampled(groups)
    return _container(groups, khat)


def _draws(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, num_samples: int) -> Groups:
    """Draws and log-densities for one batch, ``(S, B, ...)``, in passes of bounded size."""
    size = max(1, CHUNK_VALUES // x.numel())
    counts = [min(size, num_samples - start) for start in range(0, num_samples, size)]
    return _joined([_pass(model, guide, x, count) for count in counts], dim=0)


def _pass(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, count: int) -> Groups:
    model_trace, guide_trace = paired_traces(model, guide, x, num_particles=count)
    sites, latents = sample_sites(model_trace), sample_sites(guide_trace)

    def density(log_probs: Any) -> Tensor:
        return total(log_probs).reshape(count, len(x))

    return {
        "posterior": {
            name: site["value"].reshape(count, len(x), *site["fn"].event_shape) for name, site in latents.items()
        },
        "log_likelihood": {name: density([site["log_prob"]]) for name, site in sites.items() if site["is_observed"]},
        "sample_stats": {
            "lp": density(site["log_prob"] for site in sites.values()),
            "log_q": density(site["log_prob"] for site in latents.values()),
        },
    }


def _each(groups: Groups, change: Callable[[Tensor], Tensor]) -> Groups:
    return {group: {name: change(value) for name, value in values.items()} for group, values in groups.items()}


def _joined(parts: list[Groups], dim: int) -> Groups:
    return {
        group: {name: torch.cat([part[group][name] for part in parts], dim) for name in values}
        for group, values in parts[0].items()
    }


def _resampled(groups: Groups) -> Groups:
    """Each chain resampled by the weights, jointly in all variables; ``(C, D, N, ...)``."""
    log_weight = groups["psis"]["log_weight"]
    chains, draws, data = log_weight.shape
    probabilities = log_weight.softmax(1).transpose(1, 2).flatten(0, 1)
    index = probabilities.multinomial(draws, replacement=True).unflatten(0, (chains, data)).transpose(1, 2)

    def take(value: Tensor) -> Tensor:
        return value.take_along_dim(index.reshape(*index.shape, *[1] * (value.dim() - 3)), 1)

    equal = torch.full_like(log_weight, -np.log(chains * draws))
    return _each(groups, take) | {"psis": {"log_weight": equal}}


def _container(groups: Groups, khat: Tensor) -> Any:
    """The groups in the container of the installed arviz."""
    import arviz
    import xarray

    datasets = {group: _dataset(values) for group, values in groups.items()}
    datasets["psis"]["pareto_k"] = ("datum", khat.numpy())
    return arviz.InferenceData(**datasets) if is_arviz_0() else xarray.DataTree.from_dict(datasets)


def _dataset(values: dict[str, Tensor]) -> Any:
    import xarray

    dims = {
        name: ["chain", "draw", "datum", *(f"{name}_dim_{d}" for d in range(value.dim() - 3))]
        for name, value in values.items()
    }
    dataset = xarray.Dataset({name: (dims[name], value.numpy()) for name, value in values.items()})
    return dataset.assign_coords({dim: np.arange(size) for dim, size in dataset.sizes.items()})
