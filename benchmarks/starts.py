"""Guides that warm up as mean-field, trained together with a model on MNIST: test log p(x) above mean-field's, nats.

Differences of log p(x) of the models on the first 200 test images, paired over 5 seeds and images, with 95 % t
intervals and the standard deviation over seeds of the guide's mean; the rows of mean-field are log p(x) itself. 10,000
images, 20 epochs, 16 latents, networks 256-256. Each set has a report of its own:
[mnist-bernoulli](mnist-bernoulli/report.md), [mnist-gaussian](mnist-gaussian/report.md). The same guides without a
warm-up are in [guides](../guides/README.md).

DATA holds MNIST in torchvision's layout; WORK gets the trainings, and an interrupted call resumes them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.guides import MNIST
from benchmarks.helpers.comparisons import compare_all, read_rows
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.evaluate.differences import describe_difference
from pyro_vaes.reports.tables import markdown_table

SETS = {
    "mnist-bernoulli": f"{MNIST} --likelihood bernoulli --guides mean-field,laplace(updates=1)",
    "mnist-gaussian": f"{MNIST} --likelihood gaussian --guides mean-field,full-covariance",
}
FIGURES = ("log_likelihood", "difference", "difference_low", "difference_high", "degrees_of_freedom", "elbo", "gap")


def run(folders: Folders) -> list[Row]:
    """One row per set and guide, from the reports of the comparisons, which are copied."""
    compare_all(SETS, folders)
    return [row for name in SETS for row in _rows(name, folders.results / name)]


def page(rows: Sequence[Row]) -> list[str]:
    """One row per set and guide."""
    header = ["set", "guide", "log p(x) above mean-field", "df", "standard deviation over seeds", "ELBO", "gap"]
    return [markdown_table(header, [_cells(row) for row in rows])]


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


def _cells(row: Row) -> list[str]:
    if row["difference"] is None:
        above, freedom = f"{row['log_likelihood']:.2f}", ""
    else:
        above = describe_difference(*(row[name] for name in ("difference", "difference_low", "difference_high")))
        freedom = f"{row['degrees_of_freedom']:.1f}"
    figures = [f"{row[name]:.2f}" for name in ("deviation", "elbo", "gap")]
    return [row["data"], row["guide"], above, freedom, *figures]
