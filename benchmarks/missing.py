"""Missing pixels: log p of the hidden half of an image given the other half, after training with and without masks.

Binarized MNIST, 10,000 images, 16 latents, networks 256-256, 10 epochs, 3 seeds, with a mean-field guide or with
Laplace(1). With masks, half of the pixels of every training and validation image are hidden at random, once, and the
model is trained on the others. Of 50 test images half of the pixels are hidden.

log p(x_hidden | x_seen) = log p(x) - log p(x_seen) is a figure of the model, from two marginal log-likelihoods, which
depend on no guide; the sum over 392 pixels, in nats. The gap log p(x_seen) - ELBO of the guide at the masked image says
what its inference loses: Laplace conditions on what was seen, while an encoder sees 0 for what is hidden. The error is
the root mean square of E[x_hidden | x_seen] - x. Intervals of 95 % are over seeds and images.

DATA holds MNIST in torchvision's layout; WORK gets the trainings and estimates, and an interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.helpers.estimated_models import kept
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all
from pyro_vaes import plots
from pyro_vaes.data import load
from pyro_vaes.evaluate import difference, impute, log_likelihood, marginal_log_likelihood, mean_interval
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

GUIDES = {"mean-field": "mean-field", "laplace": "laplace(updates=1)"}
TRAININGS = ("complete", "masked")
SEEDS = (0, 1, 2)
IMAGES, PICTURED = 50, 10
FLAGS = "--likelihood bernoulli --binarize dynamic --latent-dim 16 --hidden 256,256 --epochs 10 --step eager"
FIGURES = {
    "hidden": "log p(hidden given seen)",
    "gap": "gap at the masked image",
    "error": "error of the mean",
}


def run(folders: Folders) -> list[Row]:
    """One row per guide and training, with the figures of all seeds and images."""
    sets = _sets(folders)
    jobs = {
        _name(guide, training, seed): ["vae", *FLAGS.split(), "--guide", flag, "--data", str(path), "--seed", str(seed)]
        for guide, flag in GUIDES.items()
        for training, path in sets.items()
        for seed in SEEDS
    }
    train_all(jobs, folders.work)
    x, mask = _test(sets["complete"])
    rows = []
    for guide in GUIDES:
        for training in TRAININGS:
            runs = [folders.work / _name(guide, training, seed) for seed in SEEDS]
            found = [kept(run / "hidden.json", lambda run=run: _measured(run, x, mask)) for run in runs]
            _draw(runs[0], x[:PICTURED], mask[:PICTURED], folders.results / f"{guide}-{training}.png")
            rows.append({"guide": guide, "training": training, **{key: [one[key] for one in found] for key in FIGURES}})
    return rows


def page(rows: Sequence[Row]) -> list[str]:
    """A table of means, one of differences, and the pictures."""
    header = ["guide", "training", *FIGURES.values()]
    cells = [[row["guide"], row["training"], *(_mean(row[key]) for key in FIGURES)] for row in rows]
    by_name = {(row["guide"], row["training"]): row for row in rows}
    pairs = [((guide, "masked"), (guide, "complete")) for guide in GUIDES]
    pairs += [(("laplace", training), ("mean-field", training)) for training in TRAININGS]
    differences = [
        [
            f"{', '.join(one)} - {', '.join(other)}",
            *(_difference(by_name[one][key], by_name[other][key]) for key in FIGURES),
        ]
        for one, other in pairs
    ]
    pictures = [
        f"{guide}, {training}:\n\n![{guide}-{training}]({guide}-{training}.png)\n" for guide, training in by_name
    ]
    return [
        markdown_table(header, cells),
        "",
        markdown_table(["difference", *FIGURES.values()], differences),
        "",
        *pictures,
    ]


def _name(guide: str, training: str, seed: int) -> str:
    return f"{guide}-{training}-seed{seed}"


def _sets(folders: Folders) -> dict[str, Path]:
    """The training data with nothing and with half of the pixels hidden, as files."""
    folders.work.mkdir(parents=True, exist_ok=True)
    paths = {training: folders.work / f"{training}.npz" for training in TRAININGS}
    if not paths["masked"].exists():
        data = load("mnist", root=folders.data, train_size=10_000)
        x = {f"x_{part}": getattr(data, part).pixels.numpy() for part in ("train", "valid", "test")}
        rng = np.random.default_rng(0)
        masks = {f"mask_{part}": rng.random(x[f"x_{part}"].shape) < 0.5 for part in ("train", "valid")}
        np.savez(paths["complete"], **x)
        np.savez(paths["masked"], **x, **masks)
    return paths


def _test(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Test images, and which of their pixels are seen."""
    x = load(path, binarize="dynamic").test.x[:IMAGES]
    return x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5


def _measured(run: Path, x: torch.Tensor, mask: torch.Tensor) -> Row:
    """The figures of each image."""
    model, guide, *_ = load_run(run, device="cpu").system
    whole = marginal_log_likelihood(model, x, guide)
    seen = marginal_log_likelihood(model, x, guide, mask=mask)
    elbo = log_likelihood(model, guide, x, num_samples=200, mask=mask).elbo
    mean = impute(model, guide, x, mask, num_samples=1).mean
    error = ((mean - x).square() * ~mask).flatten(1).sum(1) / (~mask).flatten(1).sum(1)
    figures = {"hidden": whole.per_datum - seen.per_datum, "gap": seen.per_datum - elbo, "error": error.sqrt()}
    return {name: [round(value, 4) for value in values.tolist()] for name, values in figures.items()}


def _draw(run: Path, x: torch.Tensor, mask: torch.Tensor, path: Path) -> None:
    model, guide, *_ = load_run(run, device="cpu").system
    plots.completions(impute(model, guide, x, mask, num_samples=3), mask, x).savefig(path, dpi=80)


def _mean(values: list[list[float]]) -> str:
    interval = mean_interval(torch.tensor(values))
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def _difference(one: list[list[float]], other: list[list[float]]) -> str:
    return difference(torch.tensor(one), torch.tensor(other)).describe()
