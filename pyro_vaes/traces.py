"""Traces of a model against its guide, the raw material of losses and of evaluation."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import pyro
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from pyro_vaes.errors import InputError


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
    particles = pyro.plate("particles", num_particles, dim=-2) if num_particles > 1 else contextlib.nullcontext()
    with particles:
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
