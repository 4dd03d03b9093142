"""The bound C of the recursive mixture, trained together with a model: validation log p(x), nats.

4 components, 10,000 images of MNIST, 10 epochs, 16 latents, networks 256-256. log p(x) is that of the models on the
first 100 validation images, whatever the guide; differences from the default bound are paired over 3 seeds and images,
with 95 % t intervals. The row of the default is log p(x) itself.

DATA holds MNIST in torchvision's layout; WORK gets trainings and estimates, and an interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import pyro_vaes as pv
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all
from pyro_vaes.reports.tables import markdown_table

DEFAULT = 3
BOUNDS = (1, DEFAULT, 10, 30)
GUIDES = {f"C = {each}": f"recursive-mixture(components=4,bound={each})" for each in BOUNDS}
LIKELIHOODS = ("gaussian", "bernoulli")
IMAGES, SAMPLES, SEEDS = 100, 500, range(3)
TRAINING = "vae --data mnist --train-size 10000 --epochs 10"


def run(folders: Folders) -> list[Row]:
    """One row per likelihood, guide and seed, with log p(x) of each image."""
    rows = [{"likelihood": p, "guide": name, "seed": seed} for p in LIKELIHOODS for name in GUIDES for seed in SEEDS]
    train_all({_folder(row): _arguments(row, folders.data) for row in rows}, folders.work)
    return [row | {"log_likelihood": _log_likelihood(folders.work, _folder(row))} for row in rows]


def page(rows: Sequence[Row]) -> list[str]:
    """A table with one row per guide and a column per likelihood."""
    found = {(row["likelihood"], row["guide"], row["seed"]): row["log_likelihood"] for row in rows}
    values = {
        (p, name): torch.tensor([found[p, name, seed] for seed in SEEDS], dtype=torch.float64)
        for p in LIKELIHOODS
        for name in GUIDES
    }
    cells = [[name, *(_cell(values, p, name) for p in LIKELIHOODS)] for name in GUIDES]
    return [markdown_table(["guide", *(f"{each} log p(x)" for each in LIKELIHOODS)], cells)]


def _cell(values: Mapping[tuple[str, str], torch.Tensor], likelihood: str, name: str) -> str:
    own, default = values[likelihood, name], values[likelihood, f"C = {DEFAULT}"]
    return f"{own.mean():.2f}" if own is default else pv.evaluate.difference(own, default).describe()


def _folder(row: Row) -> str:
    return f"{row['likelihood']}-{row['guide']}-seed{row['seed']}".replace(" = ", "")


def _arguments(row: Row, data: Path) -> list[str]:
    own = ["--likelihood", row["likelihood"], "--guide", GUIDES[row["guide"]], "--seed", str(row["seed"])]
    return [*TRAINING.split(), *own, "--data-root", str(data)]


def _log_likelihood(work: Path, name: str) -> list[float]:
    trained = pv.load_run(work / name, device="cpu")
    x, out = trained.data.valid.x[:IMAGES], work / "estimates"
    found = pv.evaluate.marginal_log_likelihood(trained.system.model, x, trained.system.guide, SAMPLES, seed=0, out=out)
    return [round(value, 3) for value in found.per_datum.tolist()]
