"""Inference of a batch of 128 images: RecursiveMixture(4) against the 8 steps of SemiAmortized, 784-256-256-16."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.helpers.pairs import IMAGE, Build, pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import Seconds, interleaved, ratio_rows, ratio_table

BATCH, LATENT, HIDDEN, TURNS = 128, 16, (256, 256), 21
GUIDES: dict[str, Build] = {
    "RecursiveMixture(4)": partial(pv.guides.RecursiveMixture, components=4),
    "SemiAmortized(8)": partial(pv.guides.SemiAmortized, steps=8),
}

page = ratio_table


def run(folders: Folders) -> list[Row]:
    return ratio_rows(_cases())


def _cases() -> Iterator[tuple[str, Seconds]]:
    """Seconds per turn for the posteriors of a batch and one draw of each."""
    torch.manual_seed(0)
    x = torch.rand(BATCH, *IMAGE)
    for likelihood, data in ((pv.likelihoods.Gaussian(scale=0.3), x), (pv.likelihoods.Bernoulli(), x.round())):
        guides = {name: pair(build, likelihood, latent=LATENT, hidden=HIDDEN)[1] for name, build in GUIDES.items()}
        with torch.no_grad():
            calls = {name: partial(_draw, guide, data) for name, guide in guides.items()}
            yield type(likelihood).__name__, interleaved(calls, TURNS)


def _draw(guide: pv.Guide, x: Tensor) -> Tensor:
    return guide.posterior(x).sample()
