"""Laplace guide against its released arithmetic: forward and backward of one ELBO, batch 128, 4 updates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pyro
import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.baselines.released_laplace import released_loss
from benchmarks.helpers.pairs import pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import Seconds, interleaved, ratio_rows, ratio_table
from pyro_vaes.param_store import without_registration

BATCH, UPDATES = 128, 4

page = ratio_table


def run(folders: Folders) -> list[Row]:
    return ratio_rows(_cases())


def _cases() -> Iterator[tuple[str, Seconds]]:
    """Seconds per turn, for Gaussian and Bernoulli outputs of two sizes."""
    for likelihood in (pv.likelihoods.Gaussian(scale=0.3), pv.likelihoods.Bernoulli()):
        for size, turns in ((784, 11), (3072, 5)):
            torch.manual_seed(0)
            vae, guide = pair(partial(pv.guides.Laplace, updates=UPDATES), likelihood, shape=(size,))
            x = torch.rand(BATCH, size).round()
            calls = {"ours": partial(_ours, vae, guide, x), "released": partial(_released, vae, guide, x)}
            with without_registration(), pyro.validation_enabled(False):
                yield f"{type(likelihood).__name__}, D = {size}", interleaved(calls, turns)


def _ours(vae: pv.VAE, guide: pv.Guide, x: Tensor) -> None:
    pv.losses.ELBO().differentiable_loss(vae, guide, x).backward()


def _released(vae: pv.VAE, guide: pv.Guide, x: Tensor) -> None:
    released_loss(vae, guide, x).backward()
