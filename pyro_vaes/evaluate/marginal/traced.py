"""The density of any Pyro model or guide from its traces, over latents without bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine

from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.hmc import plated_sites
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.traces import sample_sites, total


class TracedTarget(Target):
    """The density of a Pyro model with continuous latents, each moved to where it has no bounds.

    A positive latent becomes its logarithm, one of an interval its logit, and so on by the site's support; the
    densities count the change of volume, so that p(x) stays what it is.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and take one more dimension of draws to
            the left of it.
        x: the batch, ``(B, *event_shape)``.

    Raises:
        InputError: If a latent is discrete, a site lies outside the plate, or latents or observations are missing.
    """

    def __init__(self, model: Callable[..., Any], x: Tensor) -> None:
        self.model = model
        sites = plated_sites(model, x[:2])
        latents = {name: site for name, site in sites.items() if not site["is_observed"]}
        for name, site in latents.items():
            if site["fn"].support.is_discrete:
                raise InputError(
                    f"the model's latent {name!r} samples {type(site['fn']).__name__}, but proposals are continuous: "
                    "give a model that sums it out, as models.MixtureVAE does"
                )
        self.observed = sites.keys() - latents.keys()
        values = unbounded(latents)
        super().__init__(x, {name: value.shape[-1] for name, value in values.items()}, next(iter(values.values())))

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z), ``(S, B)`` each."""
        log_probs = log_densities(self.model, self.x, z, self.sizes)
        log_prior = total(log_probs[name] for name in self.sizes)
        return log_prior, total(log_probs[name] for name in self.observed)

    @torch.no_grad()
    def prior_draws(self, num_draws: int) -> Tensor:
        """Draws from p(z), ``(S, B, Z)``."""
        return draws(self.model, self.x, num_draws, self.sizes)


@torch.no_grad()
def draws(program: Callable[..., Any], x: Tensor, num_draws: int, sizes: Mapping[str, int]) -> Tensor:
    """Draws of the latents of a model or guide, ``(S, B, Z)``.

    Raises:
        InputError: If its latents are not those of ``sizes``.
    """
    with pyro.plate("draws", num_draws, dim=-2):
        sites = sample_sites(poutine.trace(program).get_trace(x))
    values = unbounded({name: site for name, site in sites.items() if not site["is_observed"]})
    if (given := {name: value.shape[-1] for name, value in values.items()}) != dict(sizes):
        raise InputError(
            f"the model's latents and their sizes are {dict(sizes)}, but the guide samples {given}: "
            "name every latent site the same in both"
        )
    return torch.cat([values[name] for name in sizes], -1)


def log_densities(
    program: Callable[..., Any], x: Tensor, z: Tensor, sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    """Log densities of the sites of a model or guide at z, ``(S, B)`` each, the change of volume counted."""
    values = dict(zip(sizes, z.split(list(sizes.values()), -1), strict=True))
    with pyro.plate("draws", len(z), dim=-2), _Substitute(values) as substituted:
        trace = poutine.trace(program).get_trace(x)
    trace.compute_log_prob()
    log_probs = {name: site["log_prob"].expand(z.shape[:2]) for name, site in sample_sites(trace).items()}
    return {name: value + substituted.log_det.get(name, 0) for name, value in log_probs.items()}


def unbounded(latents: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """The values of latent sites where they have no bounds, ``(S, B, Z)`` each."""
    free = {name: biject_to(site["fn"].support).inv(site["value"]) for name, site in latents.items()}
    return {name: value.reshape(*value.shape[:2], -1) for name, value in free.items()}


class _Substitute(Messenger):
    """Gives latent sites values by their unbounded coordinates.

    Args:
        coordinates: by site, ``(S, B, Z)``.

    Attributes:
        log_det: log |∂ value / ∂ coordinates| by site, ``(S, B)``.
    """

    def __init__(self, coordinates: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.log_det: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.coordinates or msg["is_observed"]:
            return
        transform, coordinates = biject_to(msg["fn"].support), self.coordinates[msg["name"]]
        batch = coordinates.shape[:-1]
        free = coordinates.reshape(transform.inverse_shape(batch + msg["fn"].event_shape))
        msg["value"], msg["done"] = transform(free), True
        log_det = transform.log_abs_det_jacobian(free, msg["value"])
        self.log_det[msg["name"]] = log_det.reshape(*batch, -1).sum(-1)
