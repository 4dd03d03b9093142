"""Every guide trained together with its model on MNIST: test log p(x) of the model above mean-field's, nats.

Differences of log p(x) on 200 test images, paired over 5 seeds and images, with 95 % t intervals; the row of
mean-field is log p(x) itself. "own weights": the same difference by the importance weights of each guide, as this table
gave it before, when it compared guides by how good a proposal each one is rather than the models; k-hat of these
weights is above 0.7 for the share of images beside it. A difference whose interval holds 0 is "not distinguishable".
The budget is 20 epochs of 10,000 images for every guide, which is neither convergence nor equal time: what learns fast
is ahead. Each set has a report of its own: [mnist-gaussian](mnist-gaussian/report.md),
[mnist-bernoulli](mnist-bernoulli/report.md).

DATA holds MNIST in torchvision's layout; WORK gets the trainings, two at a time with one thread each, and an
interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.helpers.comparisons import compare_all, read_rows
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.verdicts import over_seeds
from pyro_vaes.evaluate.differences import MeanInterval, describe_difference
from pyro_vaes.reports.tables import markdown_table

GUIDES = (
    "mean-field,full-covariance,low-rank,laplace(updates=1),semi-amortized(steps=8),householder,"
    "inverse-autoregressive-flow,mixture,boosted-mixture,recursive-mixture"
)
MNIST = "--data mnist --train-size 10000 --epochs 20 --seeds 5 --test-size 200 --num-samples 500 --images 0"
SETS = {
    f"mnist-{likelihood}": f"--guides {GUIDES} {MNIST} --likelihood {likelihood}"
    for likelihood in ("gaussian", "bernoulli")
}
FIGURES = ("log_likelihood", "difference", "difference_low", "difference_high", "degrees_of_freedom", "elbo", "gap")
SHARES = ("unreliable", "guide_unreliable", "inference_ms")


def run(folders: Folders) -> list[Row]:
    """One row per set and guide, from the reports of the comparisons, which are copied."""
    compare_all(SETS, folders)
    return [row for name in SETS for row in _rows(name, folders.results / name)]


def page(rows: Sequence[Row]) -> list[str]:
    """One row per guide, with both estimates of each set."""
    found = {(row["guide"], row["data"]): row for row in rows}
    header = ["guide", *(title for name in SETS for title in (name, "own weights")), "ms per inference of 128"]
    cells = []
    for guide in dict.fromkeys(row["guide"] for row in rows):
        times = [row["inference_ms"] for row in rows if row["guide"] == guide if row["inference_ms"]]
        sets = [cell for name in SETS for cell in _cells(found.get((guide, name)))]
        cells.append([guide, *sets, f"{min(times):.2f}" if times else ""])
    return [markdown_table(header, cells)]


def _rows(name: str, folder: Path) -> list[Row]:
    """The rows of a report with the name of its set and, from the trials, the difference by the guides' own weights."""
    before: dict[str, dict[str, float]] = {}
    for trial in read_rows(folder / "trials.csv"):
        before.setdefault(trial["guide"], {})[trial["seed"]] = float(trial["importance_bound"])
    first = next(iter(before.values()))
    rows = []
    for row in read_rows(folder / "report.csv"):
        numbers = {key: float(row[key]) if row.get(key) else None for key in (*FIGURES, *SHARES)}
        own = before.get(row["guide"], {})
        paired = [own[seed] - first[seed] for seed in own]
        interval = over_seeds(paired) if any(paired) else None
        rows.append({"data": name, "guide": row["guide"], **numbers, "rank": row.get("rank"), **_own(own, interval)})
    return rows


def _own(bounds: dict[str, float], interval: MeanInterval | None) -> Row:
    found: Row = {"importance_bound": sum(bounds.values()) / len(bounds)} if bounds else {}
    if interval is not None:
        found |= {"own_difference": interval.mean, "own_low": interval.low, "own_high": interval.high}
    return found


def _cells(row: Row | None) -> tuple[str, str]:
    """The difference of log p(x) from mean-field's, or log p(x) itself, by the trusted estimate and by own weights."""
    if row is None:
        return "", ""
    if row["difference"] is None:
        own = row.get("importance_bound")
        return f"{row['log_likelihood']:.2f}", "" if own is None else f"{own:.2f} ({row['guide_unreliable']:.0%})"
    trusted = describe_difference(*(row[key] for key in ("difference", "difference_low", "difference_high")))
    own = describe_difference(*(row[key] for key in ("own_difference", "own_low", "own_high")))
    return trusted, f"{own} ({row['guide_unreliable']:.0%})"
