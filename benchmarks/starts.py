"""Guides that warm up as mean-field: trained together with a model on MNIST, and on a frozen one.

Together with a model: test log p(x) above mean-field's, nats, on 200 test images, paired over 5 seeds and
images, with 95 % t intervals and the standard deviation over seeds of the guide's mean; the rows of mean-field are
log p(x) itself. The condition number is that of the posterior's precision, the median over seeds and images. 10,000
images, 20 epochs, 16 latents, networks 256-256.

On a frozen model, that of mean-field with the first seed on mnist-bernoulli: the gap log p(x) - ELBO of Laplace on
500 test images after 15 epochs from scratch, with its warm-up, and after 5 from the mean-field guide; cosine
schedules, averaged weights, 3 seeds. Each set has a report of its own:
[mnist-bernoulli](mnist-bernoulli/report.md), [mnist-gaussian](mnist-gaussian/report.md). The same guides without a
warm-up are in [guides](../guides/README.md).

DATA holds MNIST in torchvision's layout; WORK gets the trainings, and an interrupted call resumes them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.guides import MNIST
from benchmarks.helpers.comparisons import compare_all, read_rows
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.evaluate.differences import describe_difference
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

IMAGES = 200  # as many test images as the reports have

SETS = {
    "mnist-bernoulli": f"{MNIST} --likelihood bernoulli --guides mean-field,laplace(updates=1)",
    "mnist-gaussian": f"{MNIST} --likelihood gaussian --guides mean-field,full-covariance",
}
FROZEN = "--model WORK/mnist-bernoulli/runs/mean-field-seed0"
LAPLACE = "--guides laplace(updates=1) --schedule cosine --ema 0.99 --seeds 3 --test-size 500 --images 0"
STARTS = {
    "frozen-scratch": f"{FROZEN} {LAPLACE} --epochs 15",
    "frozen-start": f"{FROZEN} {LAPLACE} --epochs 5 --start WORK/mnist-bernoulli/runs/mean-field-seed0",
}
FIGURES = ("log_likelihood", "difference", "difference_low", "difference_high", "degrees_of_freedom", "elbo", "gap")
FROZEN_FIGURES = ("start", "guide", "log_likelihood", "gap", "gap_low", "gap_high")


def run(folders: Folders) -> list[Row]:
    """One row per set and guide, from the reports of the comparisons, which are copied."""
    compare_all(SETS, folders)
    compare_all(STARTS, folders)
    rows = [row for name in SETS for row in _rows(name, folders.results / name)]
    rows = [row | {"condition": _condition(folders.work / row["data"] / "runs", row)} for row in rows]
    frozen = [{"start": name, **row} for name in STARTS for row in read_rows(folders.results / name / "report.csv")]
    return [*rows, *({key: value for key, value in row.items() if key in FROZEN_FIGURES} for row in frozen)]


def page(rows: Sequence[Row]) -> list[str]:
    """One row per set and guide; one per start."""
    figures = ["df", "standard deviation over seeds", "ELBO", "gap", "condition number"]
    header = ["set", "guide", "log p(x) above mean-field", *figures]
    joint = markdown_table(header, [_cells(row) for row in rows if "data" in row])
    gaps = [
        [row["start"], f"{float(row['gap']):.2f} [{float(row['gap_low']):.2f}, {float(row['gap_high']):.2f}]"]
        for row in rows
        if "start" in row
    ]
    return [joint, "", markdown_table(["laplace(updates=1)", "gap"], gaps)]


def _rows(name: str, folder: Path) -> list[Row]:
    """The rows of a report with the name of its set and, from the trials, the spread over seeds."""
    seeds: dict[str, list[float]] = {}
    for trial in read_rows(folder / "trials.csv"):
        seeds.setdefault(trial["guide"], []).append(float(trial["log_likelihood"]))
    return [
        {
            "data": name,
            "guide": row["guide"],
            "seeds": len(seeds[row["guide"]]),
            "deviation": statistics.stdev(seeds[row["guide"]]),
            **{key: float(row[key]) if row.get(key) else None for key in FIGURES},
        }
        for row in read_rows(folder / "report.csv")
        if row["guide"] in seeds
    ]


@torch.no_grad()
def _condition(runs: Path, row: Row) -> float:
    """Median condition number of the precision of q(z | x) over seeds and the first test images."""
    found = []
    for seed in range(row["seeds"]):
        trained = load_run(runs / f"{slug(row['guide'])}-seed{seed}", device="cpu")
        x = trained.data.test.x[:IMAGES]
        q = trained.system.guide.posterior(x)
        dense = getattr(q, "covariance_matrix", None)
        variances = q.variance if dense is None else torch.linalg.eigvalsh(dense.double())
        found.append(variances.amax(-1) / variances.amin(-1))
    return torch.cat(found).median().item()


def _cells(row: Row) -> list[str]:
    if row["difference"] is None:
        above, freedom = f"{row['log_likelihood']:.2f}", ""
    else:
        above = describe_difference(*(row[name] for name in ("difference", "difference_low", "difference_high")))
        freedom = f"{row['degrees_of_freedom']:.1f}"
    figures = [f"{row[name]:.2f}" for name in ("deviation", "elbo", "gap")]
    return [row["data"], row["guide"], above, freedom, *figures, f"{row['condition']:.0f}"]
