"""The gradient step of a mean-field VAE (784-500-500-50, Bernoulli, batch 128): compiled, eager, by hand, stock SVI."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional as F

import pyro_vaes as pv
from benchmarks.timing import in_turn
from pyro_vaes.compiled import CompiledStep
from pyro_vaes.losses import ELBO
from pyro_vaes.step import EagerStep
from pyro_vaes.vae import unchanged_store

BATCH, LATENT, HIDDEN, SHAPE, TURNS = 128, 50, (500, 500), (1, 28, 28), 200


def run() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a step of each, in turn."""
    torch.manual_seed(0)
    x = torch.rand(BATCH, *SHAPE).round()
    rivals: dict[str, Callable[[], object]] = {
        "compiled": _ours(CompiledStep, x),
        "eager": _ours(EagerStep, x),
        "plain PyTorch": _by_hand(x),
        "stock SVI": _stock(x),
    }
    with unchanged_store(), pyro.validation_enabled(False):
        for call in rivals.values():
            call()  # compiles
        yield "mean-field, no validation", in_turn(rivals, TURNS, warmup=20)
    pyro.clear_param_store()


def _pair() -> tuple[pv.VAE, pv.Guide]:
    vae = pv.VAE(
        pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN), pv.priors.StandardNormal(LATENT), pv.likelihoods.Bernoulli()
    )
    return vae, pv.guides.MeanField(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN))


def _ours(kind: type[EagerStep], x: Tensor) -> Callable[[], object]:
    step = kind(*_pair(), ELBO(), lr=1e-3)
    return lambda: step(x)


def _stock(x: Tensor) -> Callable[[], object]:
    svi = SVI(*_pair(), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    return lambda: svi.step(x)


def _by_hand(x: Tensor) -> Callable[[], object]:
    """What one would write without Pyro: the same networks, closed-form KL, fused Adam."""
    encoder = nn.Sequential(pv.networks.MLPEncoder(SHAPE, HIDDEN), nn.Linear(HIDDEN[-1], 2 * LATENT))
    decoder = pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        mean, raw = encoder(x).chunk(2, -1)
        scale = F.softplus(raw)
        z = mean + scale * torch.randn_like(scale)
        reconstruction = -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (mean.square() + scale.square() - 2 * scale.log() - 1).sum()
        loss = (kl - reconstruction) / len(x)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
