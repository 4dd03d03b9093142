"""Traces of a model against its guide, the raw material of losses and of evaluation."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.vae import unannounced


def paired_traces(
    model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, *args: Any, num_particles: int = 1
) -> tuple[Trace, Trace]:
    """Trace of the guide at x, and of the model with the guide's latents.

    Args:
        model: a Pyro model whose sites all lie inside ``pyro.plate("data", B)``.
        guide: its guide.
        x: the batch, ``(B, *event_shape)``.
        *args: whatever else both take.
        num_particles: number S of draws, in a plate of their own; 1 adds no dimension.

    Returns:
        The model's and the guide's trace, log-densities computed, of shape ``(B,)`` or ``(S, B)`` a site.

    Raises:
        InputError: where a site does not lie inside the data plate, has dimensions that belong to its event, or
            one of the two lacks a latent.
    """
    with _particles(num_particles):
        guide_trace = poutine.trace(guide).get_trace(x, *args)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x, *args)
    for trace, owner in ((guide_trace, "guide"), (model_trace, "model")):
        for name, site in sample_sites(trace).items():
            frames = [frame for frame in site["cond_indep_stack"] if frame.dim == -1]
            if not frames or frames[0].size != len(x):
                raise InputError(
                    f"the {owner}'s site {name!r} does not lie inside a plate over the {len(x)} data: "
                    'put it inside `with pyro.plate("data", len(x))`, with images declared by .to_event(3)'
                )
    _check_latents(sample_sites(model_trace), sample_sites(guide_trace))
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    sizes = (num_particles, len(x)) if num_particles > 1 else (len(x),)
    for trace, owner in ((guide_trace, "guide"), (model_trace, "model")):
        for name, site in sample_sites(trace).items():
            if (shape := tuple(site["log_prob"].shape)) != sizes:
                raise InputError(
                    f"the {owner}'s site {name!r} has log-densities of shape {shape}, expected {sizes}: declare the "
                    "dimensions of one datum to be its event, images by .to_event(3), vectors by .to_event(1)"
                )
    return model_trace, guide_trace


def held_log_q(guide: Callable[..., Any], x: Tensor, *args: Any, guide_trace: Trace) -> Tensor:
    """Log q(z | x) at a trace's draws, whose gradient flows through the draws alone.

    The guide is run once more with its parameters held, which serves every guide, also where its distribution has
    networks inside or follows the model's parameters.

    Args:
        guide: the guide.
        x: the batch.
        *args: whatever else it takes.
        guide_trace: its trace at x from :func:`paired_traces`.

    Returns:
        Log-densities in nats, ``(B,)`` or ``(S, B)``.
    """
    sites = sample_sites(guide_trace)
    parameters = [p for p in guide.parameters() if p.requires_grad] if isinstance(guide, nn.Module) else []
    draws = next(iter(sites.values()))["log_prob"]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with torch.no_grad(), unannounced(), _particles(len(draws) if draws.dim() > 1 else 1):
            held = sample_sites(poutine.trace(guide).get_trace(x, *args))
        return total(
            scale_and_mask(held[name]["fn"].log_prob(site["value"]), site["scale"], site["mask"])
            for name, site in sites.items()
        )
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _particles(number: int) -> Any:
    """The plate of several draws a datum, left of the data's."""
    return pyro.plate("particles", number, dim=-2) if number > 1 else contextlib.nullcontext()


def sample_sites(trace: Trace) -> dict[str, dict[str, Any]]:
    """The random sites of a trace by name, plates left out."""
    return {
        name: dict(site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
    }


def total(values: Iterable[Tensor]) -> Tensor:
    """The sum of one or more tensors.

    Example:
        >>> total([torch.ones(2), torch.ones(2)])
        tensor([2., 2.])
    """
    return functools.reduce(operator.add, values)


def _check_latents(model: dict[str, dict[str, Any]], guide: dict[str, dict[str, Any]]) -> None:
    wanted = {name for name, site in model.items() if not site["is_observed"]}
    given = set(guide)
    if wanted != given:
        raise InputError(
            f"the model's latents are {sorted(wanted)}, but the guide samples {sorted(given)}: "
            "name every latent site the same in both"
        )
