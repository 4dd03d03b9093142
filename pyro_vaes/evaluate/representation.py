"""What the latents hold."""

from __future__ import annotations

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
    means = torch.cat([guide.posterior(batch.to(device)).mean for batch in x.split(512)])
    return int((means.var(0) > threshold).sum())
