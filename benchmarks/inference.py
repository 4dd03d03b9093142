"""Inference of a batch of 128 images: RecursiveMixture(4) against the semi-amortised guide's 8 steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import pyro_vaes as pv
from benchmarks.timing import in_turn

BATCH, LATENT, HIDDEN, SHAPE, TURNS = 128, 16, (256, 256), (1, 28, 28), 21


def run() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a turn of both, posteriors and one draw of each."""
    torch.manual_seed(0)
    x = torch.rand(BATCH, *SHAPE)
    for likelihood in (pv.likelihoods.Gaussian(scale=0.3), pv.likelihoods.Bernoulli()):
        decoder = pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN)
        vae = pv.VAE(decoder, pv.priors.StandardNormal(LATENT), likelihood)
        guides = {
            "RecursiveMixture(4)": pv.guides.RecursiveMixture(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN), components=4),
            "SemiAmortized(8)": pv.guides.SemiAmortized(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN), steps=8),
        }
        data = x.round() if isinstance(likelihood, pv.likelihoods.Bernoulli) else x
        with torch.no_grad():
            calls = {
                name: (lambda guide=guide, data=data: guide.posterior(data).sample()) for name, guide in guides.items()
            }
            yield type(likelihood).__name__, in_turn(calls, TURNS)
