"""The bound C of the recursive mixture: validation log p(x) on 10,000 MNIST images, 4 components, 10 epochs.

DATA holds MNIST in torchvision's layout. Nats by importance sampling from the guide, 200 samples each of the first
1,000 validation images, ± the standard error over images; seed 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import pyro_vaes as pv
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.recipes import Settings, build_seeded, vae
from pyro_vaes.reports.tables import markdown_table

GUIDES = ["mean-field", *(f"recursive-mixture(bound={bound})" for bound in (1, 2, 3, 5, 10, 30, 500))]
LIKELIHOODS = ("gaussian", "bernoulli")
IMAGES, SAMPLES, SEED = 1000, 200, 0


def run(folders: Folders) -> list[Row]:
    return [_log_likelihood(guide, likelihood, folders.data) for guide in GUIDES for likelihood in LIKELIHOODS]


def page(rows: Sequence[Row]) -> list[str]:
    cells = [
        [row["guide"], row["likelihood"], f"{row['log_likelihood']:.2f} ± {row['log_likelihood_stderr']:.2f}"]
        for row in rows
    ]
    return [markdown_table(["guide", "likelihood", "log p(x), nats"], cells)]


def _log_likelihood(guide: str, likelihood: str, root: Path) -> Row:
    binarize = "dynamic" if likelihood == "bernoulli" else None
    data = pv.data.load("mnist", root, binarize=binarize, train_size=10_000)
    settings = Settings(guide=guide, likelihood=likelihood, epochs=10)
    system = build_seeded(vae, data.event_shape, settings, SEED)
    pv.fit(*system[:2], data, system.loss, epochs=settings.epochs, seed=SEED)
    torch.manual_seed(SEED)
    found = pv.evaluate.log_likelihood(*system[:2], data.valid.x[:IMAGES], SAMPLES)
    figures = {"log_likelihood": found.mean, "log_likelihood_stderr": found.stderr}
    return {"guide": guide, "likelihood": likelihood, **figures}
