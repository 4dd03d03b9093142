"""The marginal log-likelihood of seven models, from three starts and against annealing.

Nats on test images, the first 1,000 for the first model and 300 for the others. log p(x):
`evaluate.marginal_log_likelihood` with the guide that the model was trained with, ± its standard error over images.
"untrained guide", "no guide": the difference of the mean when the same guide with initial weights, or none, helps to
find modes. k-hat > 0.7: share of the images that adaptive importance sampling leaves to annealing, for each start in
turn; and the share that stays above afterwards. Methods: shares of importance sampling, adaptive importance sampling
and annealing. "less annealing": the difference from `evaluate.annealed_importance_sampling` by 16 chains of 500
temperatures on the first 50 or 20 images, ± its standard error over images.

Bidirectional Monte Carlo by 16 chains of 500 temperatures on 20 images that two of the models draw: the bounds enclose
log p(x) in the mean, up to their noise; distances from the estimate, ± standard errors over images.

DATA holds MNIST in torchvision's layout and `omniglot28.npz`; WORK gets the trainings and finished results, from which
an interrupted call goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.helpers.estimated_models import MODELS, EstimatedModel, kept, train_models
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.evaluate import (
    MarginalLogLikelihood,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    marginal_log_likelihood,
)
from pyro_vaes.evaluate.marginal.estimate import METHODS
from pyro_vaes.evaluate.psis import HIGHEST_K
from pyro_vaes.reports.tables import markdown_table

FIRST, OTHERS = (1000, 50), (300, 20)  # images of the estimate, and those of annealing
CHAINS, TEMPERATURES = 16, 500
BRACKETED = ("mean-field, Gaussian", "mean-field, Bernoulli")


def run(folders: Folders) -> list[Row]:
    """One row per model, and one per model whose own data are bracketed."""
    runs = train_models(MODELS, folders.data, folders.work)
    sizes = dict(zip(runs, (FIRST, *(OTHERS,) * len(runs)), strict=False))
    rows = [kept(path / "agreement.json", partial(_agreement, name, path, *sizes[name])) for name, path in runs.items()]
    return rows + [kept(runs[name] / "bracket.json", partial(_bracket, name, runs[name])) for name in BRACKETED]


def page(rows: Sequence[Row]) -> list[str]:
    """A table of the agreement, and one of the bounds."""
    agreement = ["model", "log p(x)", "untrained guide", "no guide", "k-hat > 0.7 before annealing", "after"]
    agreement += ["methods", "less annealing", "seconds per image"]
    bracket = ["model", "log p(x)", "above the lower bound", "below the upper bound"]
    return [
        markdown_table(agreement, [_agreement_cells(row) for row in rows if row["table"] == "agreement"]),
        "",
        markdown_table(bracket, [_bracket_cells(row) for row in rows if row["table"] == "bracket"]),
    ]


def _agreement(name: str, path: Path, images: int, num_annealed: int) -> Row:
    """The estimates of one model from each start, and by annealing."""
    each = EstimatedModel(path)
    x = each.x[:images]
    guides = {"guide": each.guide, "untrained": each.untrained, "none": None}
    seconds, found = {}, {}
    for start, guide in guides.items():
        before = time.perf_counter()
        found[start] = marginal_log_likelihood(each.model, x, guide, out=path / "chunks")
        seconds[start] = (time.perf_counter() - before) / len(x)
    torch.manual_seed(0)
    annealed = annealed_importance_sampling(each.model, x[:num_annealed], CHAINS, TEMPERATURES).per_datum
    first = found["guide"]
    return {
        "table": "agreement",
        "model": name,
        "images": len(x),
        "log_likelihood": first.mean,
        "log_likelihood_stderr": first.stderr,
        "difference": {start: found[start].mean - first.mean for start in ("untrained", "none")},
        "largest_stderr": max(each.per_datum_stderr.max().item() for each in found.values()),
        "annealed": {start: _annealed(each) for start, each in found.items()},
        "unreliable": {start: each.unreliable for start, each in found.items()},
        "methods": {method: first.method.count(method) / len(x) for method in METHODS},
        "less_annealing": _mean(first.per_datum[:num_annealed] - annealed),
        "seconds": seconds,
    }


def _bracket(name: str, path: Path) -> Row:
    """The estimates of data that a model draws, between bounds."""
    each = EstimatedModel(path)
    torch.manual_seed(0)
    bounds = bidirectional_monte_carlo(each.model, each.x[: OTHERS[1]], CHAINS, TEMPERATURES)
    found = marginal_log_likelihood(each.model, bounds.x, each.guide)
    return {
        "table": "bracket",
        "model": name,
        "lower": bounds.lower.mean().item(),
        "log_likelihood": found.mean,
        "upper": bounds.upper.mean().item(),
        "less_lower": _mean(found.per_datum - bounds.lower),
        "upper_less": _mean(bounds.upper - found.per_datum),
    }


def _annealed(estimate: MarginalLogLikelihood) -> float:
    """Share of the data whose k-hat adaptive importance sampling left above 0.7."""
    left = [
        method == METHODS[-1] or khat > HIGHEST_K
        for method, khat in zip(estimate.method, estimate.pareto_k.tolist(), strict=True)
    ]
    return sum(left) / len(left)


def _mean(values: Tensor) -> Row:
    return {"mean": values.mean().item(), "stderr": values.std().item() / math.sqrt(len(values))}


def _agreement_cells(row: Row) -> list[str]:
    return [
        row["model"],
        f"{row['log_likelihood']:.2f} ± {row['log_likelihood_stderr']:.2f}",
        *(f"{value:+.3f}" for value in row["difference"].values()),
        ", ".join(f"{share:.1%}" for share in row["annealed"].values()),
        ", ".join(f"{share:.1%}" for share in row["unreliable"].values()),
        ", ".join(f"{share:.1%}" for share in row["methods"].values()),
        f"{row['less_annealing']['mean']:+.2f} ± {row['less_annealing']['stderr']:.2f}",
        f"{row['seconds']['guide']:.3f}",
    ]


def _bracket_cells(row: Row) -> list[str]:
    distances = [f"{row[name]['mean']:+.2f} ± {row[name]['stderr']:.2f}" for name in ("less_lower", "upper_less")]
    return [row["model"], f"{row['log_likelihood']:.2f}", *distances]
