"""Comparison of a guide with reference posteriors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_inputs, evaluating, seeded
from pyro_vaes.evaluate.nuts_reference import ReferencePosterior, flat, joined
from pyro_vaes.evaluate.sliced_wasserstein import distance_and_null
from pyro_vaes.traces import sample_sites


@dataclass(frozen=True)
class ReferenceComparison:
    """Draws of a guide and of a reference, and the distance between them.

    Attributes:
        guide_draws: draws of the guide, as many as of the reference, shape ``(M, N, Z)``.
        reference_draws: draws of the reference, shape ``(M, N, Z)``.
        distance: sliced Wasserstein distance, in standard deviations of the reference, shape ``(N,)``. NaN if the
            reference has fewer than 20 effective draws.
        null: 95 % quantile of the distance under the null hypothesis of an exact guide, shape ``(N,)``.
    """

    guide_draws: Tensor
    reference_draws: Tensor
    distance: Tensor
    null: Tensor

    @property
    def excess(self) -> Tensor:
        """Distance minus the null quantile; above 0 the guide differs from the posterior, shape ``(N,)``."""
        return self.distance - self.null

    @property
    def guide_mean(self) -> Tensor:
        """Marginal means of the guide, shape ``(N, Z)``."""
        return self.guide_draws.mean(0)

    @property
    def guide_scale(self) -> Tensor:
        """Marginal standard deviations of the guide, shape ``(N, Z)``."""
        return self.guide_draws.std(0)

    @property
    def reference_mean(self) -> Tensor:
        """Marginal means of the reference, shape ``(N, Z)``."""
        return self.reference_draws.mean(0)

    @property
    def reference_scale(self) -> Tensor:
        """Marginal standard deviations of the reference, shape ``(N, Z)``."""
        return self.reference_draws.std(0)


def compare_with_reference(
    guide: Callable[..., Any],
    x: Tensor,
    reference: ReferencePosterior,
    seed: int = 0,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> ReferenceComparison:
    """Sliced Wasserstein distance between a guide and a reference, with its null distribution for an exact guide.

    In coordinates in which the reference has unit covariance, SW² is the mean over directions θ of the squared
    Wasserstein distance between the projections θᵀz. The null is the distance between random halves of the reference.
    Both use half of the reference's effective sample size, since correlated draws would make the null too small.

    Args:
        guide: a Pyro guide of the reference's model.
        x: the data of the reference, ``(N, *event_shape)``.
        reference: draws from the posterior, by :func:`reference_posterior`.
        seed: seed of draws, directions and halves.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the reference is then that of the same mask.

    Raises:
        InputError: If data or latents differ from those of the reference.

    References:
        Sliced and Radon Wasserstein Barycenters of Measures (Bonneel, Rabin, Peyre, Pfister, 2015).

    Example:
        >>> from pyro_vaes.evaluate import reference_posterior
        >>> reference = reference_posterior(vae, x, num_samples=40, warmup_steps=40)
        >>> compare_with_reference(guide, x, reference).excess.shape
        torch.Size([4])
    """
    x, guide = as_inputs(x, y, guide, mask=mask)
    if len(x) != reference.draws.shape[2]:
        raise InputError(
            f"x holds {len(x)} observations, but the reference {reference.draws.shape[2]}: give the same data"
        )
    draws = reference.draws.flatten(0, 1)
    with evaluating(guide, x=x), seeded(seed, x.device):
        guided = guide_draws(guide, x, len(draws), reference.sites).cpu()
        sizes = reference.effective_sample_size.amin(-1).nan_to_num(0).int().tolist()
        pairs = zip(guided.unbind(1), draws.unbind(1), sizes, strict=True)
        distance, null = zip(*(distance_and_null(*pair) for pair in pairs), strict=True)
    return ReferenceComparison(guided, draws, torch.stack(distance), torch.stack(null))


@torch.no_grad()
def guide_draws(guide: Callable[..., Any], x: Tensor, num_samples: int, sites: Mapping[str, int]) -> Tensor:
    """Draws from q(z | x), the latents joined in the order of ``sites``: shape ``(S, B, Z)``.

    Raises:
        InputError: If the guide's latents are not those of the model.
    """
    with pyro.plate("particles", num_samples, dim=-2):
        trace = poutine.trace(guide).get_trace(x)
    values = flat({name: site["value"] for name, site in sample_sites(trace).items()}, (num_samples, len(x)))
    if (given := {name: value.shape[-1] for name, value in values.items()}) != dict(sites):
        raise InputError(
            f"the model's latents and their sizes are {dict(sites)}, but the guide samples {given}: "
            "name every latent site the same in both"
        )
    return joined(values, sites)
