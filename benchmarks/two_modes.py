"""A posterior with two modes, p(x | z) = N(z², 0.3²): gap to log p(x) of mean-field and mixtures, by quadrature.

Mean over 16 observations after 2,500 steps of training, with the guides' default settings and their warm-up.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import pyro_vaes as pv
from benchmarks.helpers.pairs import Build
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.guides import BoostedMixture, MeanField, Mixture, RecursiveMixture
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.training.step import EagerStep

SEEDS = range(5)
GUIDES: dict[str, Build] = {each.__name__: each for each in (MeanField, Mixture, RecursiveMixture, BoostedMixture)}


def run(folders: Folders) -> list[Row]:
    return [{"guide": name, "gaps": [trained(build, seed)[0] for seed in SEEDS]} for name, build in GUIDES.items()]


def page(rows: Sequence[Row]) -> list[str]:
    baseline = statistics.mean(rows[0]["gaps"])
    cells = [
        [row["guide"], ", ".join(f"{gap:.3f}" for gap in row["gaps"]), f"{statistics.mean(row['gaps']) / baseline:.0%}"]
        for row in rows
    ]
    return [markdown_table(["guide", f"gap, nats (seeds 0 to {len(SEEDS) - 1})", "of mean-field's"], cells)]


class Square(nn.Module):
    """Decoder z², whose posterior has two modes."""

    def forward(self, z: Tensor) -> Tensor:
        """The mean of x, shape of z."""
        return z.square()


def trained(build: Build, seed: int = 0, steps: int = 2500) -> tuple[float, pv.Guide, Tensor]:
    """Mean gap log p(x) - ELBO of a trained guide, the guide, and the data; equal seeds give equal initial weights."""
    torch.manual_seed(seed)
    vae = pv.VAE(Square(), pv.priors.StandardNormal(1), pv.likelihoods.Gaussian(scale=0.3, learn=False))
    encoder = nn.Sequential(nn.Linear(1, 32), nn.Tanh())
    encoder.out_features = 32
    guide = build(vae, encoder)
    x = torch.linspace(0.8, 2.5, 16).unsqueeze(-1)
    step = EagerStep(vae, guide, pv.losses.default_loss(guide), lr=5e-3)
    step.warmup = min(guide.warmup, 2 * steps // 5)
    with restored_param_store():
        for _ in range(steps):
            step(x.repeat(4, 1))
    return gap(vae, guide, x), guide, x


@torch.no_grad()
def gap(vae: pv.VAE, guide: pv.Guide, x: Tensor, side: float = 5.0, points: int = 4001) -> float:
    """Mean of log p(x) - ELBO over the data, both by a sum over a grid of z."""
    z = torch.linspace(-side, side, points).reshape(-1, 1, 1)
    width = 2 * side / (points - 1)
    log_p = vae.log_joint(x, z)
    log_q = guide.posterior(x).log_prob(z.expand(-1, len(x), -1))
    elbo = (log_q.exp() * (log_p - log_q)).sum(0) * width
    return (log_p.logsumexp(0) + math.log(width) - elbo).mean().item()
