"""Paired traces of a model and its guide, from which losses and evaluation compute."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.param_store import without_registration


def paired_traces(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    *args: Any,
    num_particles: int = 1,
    enumerate_discrete: bool = False,
) -> tuple[Trace, Trace]:
    """Traces of the guide at x and of the model replayed at the guide's latents.

    Args:
        model: a Pyro model whose sites all lie inside ``pyro.plate("data", B)``.
        guide: its guide.
        x: the batch, ``(B, *event_shape)``.
        *args: further arguments of both.
        num_particles: number S of draws, in a plate of their own; 1 adds no dimension.
        enumerate_discrete: whether the guide's sites with ``infer={"enumerate": "parallel"}`` are enumerated, each in
            a dimension of its own left of the plates, instead of sampled.

    Returns:
        The model's and the guide's trace with log-densities of shape ``(B,)`` or ``(S, B)`` per site, enumerated
        dimensions on their left.

    Raises:
        InputError: If a site lies outside the data plate or has batch dimensions that belong to its event, or if
            model and guide differ in their latents.
    """
    sizes = (num_particles, len(x)) if num_particles > 1 else (len(x),)
    drawn = poutine.enum(guide, first_available_dim=-1 - len(sizes)) if enumerate_discrete else guide
    with _particles(num_particles):
        guide_trace = poutine.trace(drawn).get_trace(x, *args)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x, *args)
    given, wanted = sample_sites(guide_trace), sample_sites(model_trace)
    for sites, owner in ((given, "guide"), (wanted, "model")):
        for name, site in sites.items():
            frames = [frame for frame in site["cond_indep_stack"] if frame.dim == -1]
            if not frames or frames[0].size != len(x):
                raise InputError(
                    f"the {owner}'s site {name!r} does not lie inside a plate over the {len(x)} observations: "
                    'put it inside `with pyro.plate("data", len(x))`, with images declared by .to_event(3)'
                )
    _check_latents(wanted, given)
    model_trace.compute_log_prob()
    guide_trace.compute_log_prob()
    given, wanted = sample_sites(guide_trace), sample_sites(model_trace)
    values = _enumerated_shape(given, len(sizes))
    for sites, owner in ((given, "guide"), (wanted, "model")):
        for name, site in sites.items():
            if not _fits(shape := tuple(site["log_prob"].shape), values, sizes):
                raise InputError(
                    f"the {owner}'s site {name!r} has log-densities of shape {shape}, expected {sizes}: declare the "
                    "dimensions of one observation as its event, images by .to_event(3), vectors by .to_event(1)"
                )
    return model_trace, guide_trace


def log_q_stop_gradient(guide: Callable[..., Any], x: Tensor, *args: Any, guide_trace: Trace) -> Tensor:
    """log q(z | x) at a trace's draws, with the gradient through the draws only.

    The guide is replayed at those draws with its parameters frozen. This works for every guide, including those whose
    distributions contain networks, depend on the model's parameters, or depend on earlier latents.

    Args:
        guide: the guide.
        x: the batch.
        *args: further arguments of the guide.
        guide_trace: its trace at x from :func:`paired_traces`.

    Returns:
        Log-densities in nats, ``(B,)`` or ``(S, B)``, with the enumerated dimensions on their left.
    """
    sites = sample_sites(guide_trace)
    modules = [module for module in (guide, getattr(guide, "vae", None)) if isinstance(module, nn.Module)]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    particles = [frame.size for frame in next(iter(sites.values()))["cond_indep_stack"] if frame.name == "particles"]
    several = len(sites) > 1  # the distribution of one latent may depend on the draw of another
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with torch.set_grad_enabled(several), without_registration(), _particles(*particles or [1]):
            frozen = sample_sites(poutine.trace(poutine.replay(guide, trace=guide_trace)).get_trace(x, *args))
        return total(
            scale_and_mask(frozen[name]["fn"].log_prob(site["value"]), site["scale"], site["mask"])
            for name, site in sites.items()
        )
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _particles(number: int) -> Any:
    """The plate of several draws per datum, left of the data plate."""
    return pyro.plate("particles", number, dim=-2) if number > 1 else contextlib.nullcontext()


def expectation(latents: dict[str, dict[str, Any]], num_particles: int) -> Callable[[Tensor], Tensor]:
    """E_q of a site's values, ``(B,)``: the sum over enumerated latents, weighted by q, and the mean over draws.

    Args:
        latents: the guide's sites from :func:`paired_traces`.
        num_particles: number S of draws in them.

    Returns:
        A function of values ``(B,)`` or ``(S, B)`` with enumerated dimensions on their left. A value that lacks some of
        these dimensions, such as the draws in a closed form, is not reduced over them.
    """
    plates = 2 if num_particles > 1 else 1
    enumerated = [site["unscaled_log_prob"] for site in latents.values() if is_enumerated(site)]
    weights = total(enumerated).exp() if enumerated else None

    def expected(value: Tensor) -> Tensor:
        if weights is not None and value.dim() > plates:
            value = (weights * value).flatten(0, -1 - plates).sum(0)
        return value.mean(0) if value.dim() > 1 else value

    return expected


def is_enumerated(site: dict[str, Any]) -> bool:
    """Whether a site is enumerated rather than sampled."""
    return site["infer"].get("_enumerate_dim") is not None


def check_reparameterized(name: str, q: TorchDistribution) -> None:
    """Check that gradients flow through the draws of a guide's site.

    Raises:
        InputError: If the site's distribution has no reparameterized sampler.
    """
    if not q.has_rsample:
        raise InputError(
            f"the guide's site {name!r} samples {type(q).__name__}, which has no reparameterized sampler, so that "
            "its gradient here would be wrong: give it one, or train with pyro.infer.Trace_ELBO"
        )


def sample_sites(trace: Trace) -> dict[str, dict[str, Any]]:
    """The sample sites of a trace by name, without plates."""
    return {
        name: dict(site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
    }


def observed_site(sites: Mapping[str, Any]) -> str:
    """Name of the one site that a model observes, among the sites of ``poutine.uncondition(model)``.

    Raises:
        InputError: If there is none, or are several.
    """
    observed = [name for name, site in sites.items() if site["infer"].get("was_observed")]
    if len(observed) != 1:
        raise InputError(
            f"the model observes {observed}, expected exactly one site: "
            "condition it on the others (pyro.poutine.condition) or merge them into one"
        )
    return observed[0]


def total(values: Iterable[Tensor]) -> Tensor:
    """Sum of one or more tensors.

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


def _enumerated_shape(latents: dict[str, dict[str, Any]], plates: int) -> tuple[int, ...]:
    """Sizes of the enumerated latents' dimensions, left of the plates."""
    enumerated = [site["log_prob"].shape for site in latents.values() if is_enumerated(site)]
    return tuple(torch.broadcast_shapes(*(shape[:-plates] for shape in enumerated)))


def _fits(shape: tuple[int, ...], values: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    """Whether log-densities have the shape of the plates, with only enumerated dimensions left of them.

    Pyro omits the plates of an enumerated site that does not vary along them.
    """
    if len(shape) <= len(sizes):
        return shape == sizes
    full = values + sizes
    pairs = zip(reversed(shape), reversed(full), strict=False)
    return len(shape) <= len(full) and all(size in (1, most) for size, most in pairs)
