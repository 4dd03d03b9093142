"""Posterior covariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Independent

from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.evaluate.posterior_means import latent_draws
from pyro_vaes.vae import Guide

NUM_SAMPLES = 2000  # draws that estimate a covariance without a closed form


@torch.no_grad()
def posterior_covariance(
    guide: Callable[..., Any],
    x: Tensor,
    num_samples: int = NUM_SAMPLES,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Covariance of q(z | x), in closed form if there is one, else that of draws; several latents are taken together.

    Args:
        guide: a :class:`~pyro_vaes.vae.Guide`, or any Pyro guide.
        x: the data, ``(B, *event_shape)``.
        num_samples: number of draws if there is no closed form.
        y: labels or conditions of x, ``(B, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    Shapes:
        The result is ``(B, Z, Z)``, with Z the size of all latents, the lowest first.

    Example:
        >>> import pyro_vaes as pv
        >>> posterior_covariance(pv.guides.Laplace(vae, encoder), x).shape
        torch.Size([4, 2, 2])
    """
    x, guide = as_inputs(x, y, guide, mask=mask)
    with evaluating(guide, x=x):
        if isinstance(guide, Guide) and len(q := guide.posteriors(x)) == 1:
            closed_form = _covariance(next(iter(q.values())))
            if closed_form is not None:
                return closed_form
        draws = torch.cat(list(latent_draws(guide, x, num_samples).values()), -1).transpose(0, 1)
    centered = draws - draws.mean(1, keepdim=True)
    return centered.mT @ centered / (num_samples - 1)


def _covariance(q: dist.TorchDistribution) -> Tensor | None:
    """The covariance of a distribution in closed form, or None."""
    if isinstance(q, Independent) and isinstance(q.base_dist, dist.Normal):
        return q.variance.diag_embed()
    return getattr(q, "covariance_matrix", None)
