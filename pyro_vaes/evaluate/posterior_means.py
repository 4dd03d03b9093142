"""Posterior means, the codes of observations, and active units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.given import split
from pyro_vaes.traces import sample_sites
from pyro_vaes.vae import Guide

NUM_SAMPLES = 50  # draws that estimate a posterior mean without a closed form


@torch.no_grad()
def active_units(
    guide: nn.Module, x: Tensor, threshold: float = 0.01, *, y: Tensor | None = None, mask: Tensor | None = None
) -> int:
    """Number of latent dimensions that respond to x: Var_x(E_q[z | x]) > threshold, over all latents.

    Args:
        guide: a guide, of one latent or of several.
        x: the data, ``(N, *event_shape)``.
        threshold: minimum variance of an active unit.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Example:
        >>> import pyro_vaes as pv
        >>> active_units(pv.guides.MeanField(vae, encoder), torch.zeros(4, 1, 8, 8))
        0
    """
    x, guide = as_inputs(x, y, guide, mask=mask)
    # the covariance of two estimates of each mean, since the variance of one would include the noise of its draws
    with evaluating(guide, x=x):
        first, second = (
            torch.cat([_joined(posterior_means(view, batch)) for batch, view in split(512, x, guide)]) for _ in range(2)
        )
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).sum(0) / (len(x) - 1)
    return int((covariance > threshold).sum())


@torch.no_grad()
def posterior_mean(
    guide: Guide, x: Tensor, num_samples: int = NUM_SAMPLES, *, y: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """E_q[z | x], shape ``(B, Z)``, in closed form if there is one, else the mean of draws.

    Args:
        guide: a guide with a ``posterior``.
        x: the data, ``(B, *event_shape)``.
        num_samples: number of draws if there is no closed form.
        y: labels or conditions of x, ``(B, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    Example:
        >>> import pyro_vaes as pv
        >>> posterior_mean(pv.guides.InverseAutoregressiveFlow(vae, encoder), x).shape
        torch.Size([4, 2])
    """
    x, guide = as_inputs(x, y, guide, mask=mask)
    with evaluating(guide, x=x):
        return mean(guide.posterior(x), num_samples)


@torch.no_grad()
def posterior_means(
    guide: Callable[..., Any], x: Tensor, *, y: Tensor | None = None, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """E_q[z_l | x] of every continuous latent by its site, the lowest first, each ``(B, Z_l)``.

    Args:
        guide: a :class:`~pyro_vaes.vae.Guide`, or any Pyro guide, whose means are then those of 50 draws.
        x: the data, ``(B, *event_shape)``.
        y: labels or conditions of x, ``(B, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    Example:
        >>> {name: code.shape for name, code in posterior_means(guide, x).items()}
        {'z': torch.Size([4, 2])}
    """
    x, guide = as_inputs(x, y, guide, mask=mask)
    with evaluating(guide, x=x):
        if isinstance(guide, Guide):
            return {site: mean(q) for site, q in guide.posteriors(x).items()}
        return {site: draws.mean(0) for site, draws in latent_draws(guide, x, NUM_SAMPLES).items()}


def latent_draws(guide: Callable[..., Any], x: Tensor, num_samples: int) -> dict[str, Tensor]:
    """Joint draws of every continuous latent by its site, the lowest first, each ``(S, B, Z_l)``."""
    with pyro.plate("particles", num_samples, dim=-2):
        sites = sample_sites(poutine.trace(guide).get_trace(x))
    drawn = {name: site["value"] for name, site in sites.items() if not site["fn"].has_enumerate_support}
    return {name: drawn[name] for name in sorted(drawn, key=lambda name: (len(name), name))}


def mean(q: dist.TorchDistribution, num_samples: int = NUM_SAMPLES) -> Tensor:
    """E_q[z], in closed form if there is one, else the mean of draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((num_samples,)).mean(0)


def _joined(codes: dict[str, Tensor]) -> Tensor:
    """All latents of a datum, concatenated."""
    return torch.cat([code.flatten(1) for code in codes.values()], 1)
