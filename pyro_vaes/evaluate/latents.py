"""What the latents hold."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vaes.vae import Guide


@torch.no_grad()
def active_units(guide: Guide, x: Tensor, threshold: float = 0.01) -> int:
    """Number of latent dimensions that respond to x: Var_x(E_q[z | x]) > threshold.

    Args:
        guide: a guide with a ``posterior``.
        x: the data, ``(N, *event_shape)``.
        threshold: least variance of an active unit.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Example:
        >>> import pyro_vaes as pv
        >>> active_units(pv.guides.MeanField(vae, encoder), torch.zeros(4, 1, 8, 8))
        0
    """
    device = next(guide.parameters()).device
    batches = [batch.to(device) for batch in x.split(512)]
    # the covariance of two estimates of each mean, since the variance of one would hold the noise of its draws
    first, second = (torch.cat([posterior_mean(guide, batch) for batch in batches]) for _ in range(2))
    covariance = ((first - first.mean(0)) * (second - second.mean(0))).sum(0) / (len(x) - 1)
    return int((covariance > threshold).sum())


@torch.no_grad()
def posterior_mean(guide: Guide, x: Tensor, num_samples: int = 50) -> Tensor:
    """E_q[z | x], shape ``(..., B, Z)``: in closed form where the posterior has one, else the mean of draws.

    Args:
        guide: a guide with a ``posterior``.
        x: the data, ``(..., B, *event_shape)``.
        num_samples: number of draws where there is no closed form.

    Example:
        >>> import pyro_vaes as pv
        >>> posterior_mean(pv.guides.InverseAutoregressiveFlow(vae, encoder), x).shape
        torch.Size([4, 2])
    """
    return mean(guide.posterior(x), num_samples)


def mean(q: dist.TorchDistribution, num_samples: int = 50) -> Tensor:
    """E_q[z], in closed form where there is one, else the mean of draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((num_samples,)).mean(0)
