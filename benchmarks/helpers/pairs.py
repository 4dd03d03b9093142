"""Pairs of model and guide with fully connected networks, 784-500-500-50 by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

import pyro_vaes as pv
from pyro_vaes.likelihoods import Likelihood

LATENT, HIDDEN, IMAGE = 50, (500, 500), (1, 28, 28)

Build = Callable[[pv.VAE, nn.Module], pv.Guide]


def pair(
    guide: Build = pv.guides.MeanField,
    likelihood: Likelihood | None = None,
    *,
    latent: int = LATENT,
    shape: Sequence[int] = IMAGE,
    hidden: Sequence[int] = HIDDEN,
) -> tuple[pv.VAE, pv.Guide]:
    """A VAE with a standard normal prior, by default with Bernoulli outputs, and a guide for it."""
    decoder = pv.networks.MLPDecoder(latent, shape, hidden)
    vae = pv.VAE(decoder, pv.priors.StandardNormal(latent), likelihood or pv.likelihoods.Bernoulli())
    return vae, guide(vae, pv.networks.MLPEncoder(shape, hidden))
