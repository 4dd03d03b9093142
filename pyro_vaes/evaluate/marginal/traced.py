"""The densities of any Pyro model or guide from its traces, over latents without bounds."""

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
from pyro_vaes.given import split
from pyro_vaes.traces import sample_sites, total

Program = Callable[..., Any]  # a Pyro model or guide


class TracedTarget(Target):
    """The density of a Pyro model with continuous latents, each moved to where it has no bounds.

    A positive latent becomes its logarithm, one of an interval its logit, and so on by the site's support; densities
    count the change of volume, so that p(x) stays what it is.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and take one more dimension of draws to
            the left of it.
        x: the batch, ``(B, *event_shape)``.

    Raises:
        InputError: If a latent is discrete, a site lies outside the plate, or latents or observations are missing.
    """

    def __init__(self, model: Program, x: Tensor) -> None:
        two, view = next(split(2, x, model))
        sites = plated_sites(view, two)
        values = unbounded(sites)
        self.observed = sites.keys() - values.keys()
        super().__init__(
            model, x, {name: value.shape[-1] for name, value in values.items()}, next(iter(values.values()))
        )

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z), ``(S, B)`` each."""
        log_probs = log_densities(self.model, self.x, z, self.sizes)
        log_prior = total(log_probs[name] for name in self.sizes)
        return log_prior, total(log_probs[name] for name in self.observed)

    def prior_draws(self, num_draws: int) -> Tensor:
        """Draws from p(z), ``(S, B, Z)``."""
        values = draws(self.model, self.x, num_draws)
        return torch.cat([values[name] for name in self.sizes], -1)


@torch.no_grad()
def draws(program: Program, x: Tensor, num_draws: int) -> dict[str, Tensor]:
    """Draws of each latent of a model or guide, where it has no bounds, ``(S, B, Z)`` by site.

    Example:
        >>> draws(guide, x, 5)["z"].shape
        torch.Size([5, 4, 2])
    """
    with pyro.plate("draws", num_draws, dim=-2):
        trace = poutine.trace(program).get_trace(x)
    return unbounded(sample_sites(trace))


def log_densities(program: Program, x: Tensor, z: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Log densities of all sites of a model or guide, ``(S, B)`` each, with the change of volume.

    Args:
        program: the model or guide.
        x: the batch, ``(B, *event_shape)``.
        z: all latents, where they have no bounds, ``(S, B, Z)``.
        sizes: number of coordinates of each latent, in their order in z.

    Example:
        >>> log_densities(guide, x, torch.zeros(5, 4, 2), {"z": 2})["z"].shape
        torch.Size([5, 4])
    """
    values = dict(zip(sizes, z.split(list(sizes.values()), -1), strict=True))
    with pyro.plate("draws", len(z), dim=-2), _Substitute(values) as substituted:
        trace = poutine.trace(program).get_trace(x)
    trace.compute_log_prob()
    log_probs = {name: site["log_prob"].expand(z.shape[:2]) for name, site in sample_sites(trace).items()}
    return {name: value + substituted.log_det.get(name, 0) for name, value in log_probs.items()}


def unbounded(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """The values of latent sites, ``(S, B, *event_shape)``, where they have no bounds, ``(S, B, Z)``.

    Raises:
        InputError: If a latent is discrete.
    """
    values = {}
    for name, site in sites.items():
        if site["is_observed"]:
            continue
        if site["fn"].support.is_discrete:
            raise InputError(
                f"the latent {name!r} samples {type(site['fn']).__name__}, but log p(x) is estimated over continuous "
                "latents: give a model that sums it out, such as models.MixtureVAE"
            )
        value = biject_to(site["fn"].support).inv(site["value"])
        values[name] = value.reshape(*value.shape[:2], -1)
    return values


class _Substitute(Messenger):
    """Gives latent sites the values that their coordinates without bounds stand for.

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
        batch = coordinates.shape[:2]
        free = coordinates.reshape(transform.inverse_shape(batch + msg["fn"].event_shape))
        msg["value"], msg["done"] = transform(free), True
        self.log_det[msg["name"]] = transform.log_abs_det_jacobian(free, msg["value"]).reshape(*batch, -1).sum(-1)
