"""Laplace guide against its released arithmetic: forward and backward of one ELBO, batch 128, 4 updates."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.released_laplace import released_loss
from benchmarks.timing import in_turn
from pyro_vaes.param_store import without_registration

BATCH, LATENT, HIDDEN, UPDATES = 128, 50, (500, 500), 4


def run() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a turn of both, for Gaussian and Bernoulli outputs of two sizes."""
    for likelihood in (pv.likelihoods.Gaussian(scale=0.3), pv.likelihoods.Bernoulli()):
        for size, turns in ((784, 11), (3072, 5)):
            torch.manual_seed(0)
            decoder = pv.networks.MLPDecoder(LATENT, (size,), HIDDEN)
            vae = pv.VAE(decoder, pv.priors.StandardNormal(LATENT), likelihood)
            guide = pv.guides.Laplace(vae, pv.networks.MLPEncoder((size,), HIDDEN), updates=UPDATES)
            x = torch.rand(BATCH, size).round()
            loss = pv.losses.ELBO()

            def ours(vae: pv.VAE = vae, guide: pv.Guide = guide, x: Tensor = x, loss: pv.losses.ELBO = loss) -> None:
                loss.differentiable_loss(vae, guide, x).backward()

            def released(vae: pv.VAE = vae, guide: pv.Guide = guide, x: Tensor = x) -> None:
                released_loss(vae, guide, x).backward()

            with without_registration(), pyro.validation_enabled(False):
                yield f"{type(likelihood).__name__}, D = {size}", in_turn({"ours": ours, "released": released}, turns)
