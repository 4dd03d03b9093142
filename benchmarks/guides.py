"""Every guide on four sets of images: test log p(x) above mean-field, nats, with 95 % intervals.

The rows of mean-field and pPCA are log p(x) itself; a difference whose interval holds 0 is not distinguishable from
none; the time is the shortest of the four sets. Each set has a report of its own:
[mnist-gaussian](mnist-gaussian/report.md), [mnist-bernoulli](mnist-bernoulli/report.md),
[fashion-mnist-gaussian](fashion-mnist-gaussian/report.md),
[omniglot-small-bernoulli](omniglot-small-bernoulli/report.md).

DATA holds MNIST and FashionMNIST in torchvision's layout and `omniglot-small.npz`; WORK gets the trainings, two at a
time with one thread each, and an interrupted call resumes them.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import command, two_at_a_time
from pyro_vaes.reports.tables import markdown_table

GUIDES = (
    "mean-field,full-covariance,low-rank,laplace(updates=1),semi-amortized(steps=8),householder,"
    "inverse-autoregressive-flow,mixture,boosted-mixture,recursive-mixture"
)
ORDERS = ",".join(f"recursive-mixture(components={components})" for components in (1, 2, 3, 5))
MNIST = "--data mnist --train-size 10000 --epochs 20"
SETS = {
    "mnist-gaussian": f"--guides {GUIDES},{ORDERS} {MNIST} --likelihood gaussian",
    "mnist-bernoulli": f"--guides {GUIDES} {MNIST} --likelihood bernoulli",
    "fashion-mnist-gaussian": f"--guides {GUIDES} --data fashion-mnist --train-size 5000 --epochs 20",
    "omniglot-small-bernoulli": f"--guides {GUIDES} --data DATA/omniglot-small.npz --likelihood bernoulli --epochs 20",
}
FIGURES = ("log_likelihood", "difference", "difference_low", "difference_high", "degrees_of_freedom", "inference_ms")


def run(folders: Folders) -> list[Row]:
    """One row per set and guide, from the reports of the comparisons, which are copied."""
    data, work = folders.data, folders.work
    work.mkdir(parents=True, exist_ok=True)
    two_at_a_time(lambda name: _compare(name, data, work), SETS)
    for name in SETS:
        _copy(work / name, folders.results / name, str(data))
    return [row for name in SETS for row in rows_of(name, folders.results / name / "report.csv")]


def page(rows: Sequence[Row]) -> list[str]:
    found = {(row["guide"], row["data"]): row for row in rows}
    cells = []
    for guide in dict.fromkeys(row["guide"] for row in rows):
        times = [row["inference_ms"] for row in rows if row["guide"] == guide]
        fastest = f"{min(times):.2f}" if all(times) else ""
        cells.append([guide, *(_cell(found.get((guide, name))) for name in SETS), fastest])
    return [markdown_table(["guide", *SETS, "ms per inference of 128"], cells)]


def rows_of(name: str, report: Path) -> list[Row]:
    """The rows of a report, with the name of its set."""
    with report.open(newline="", encoding="utf-8") as file:
        return [
            {"data": name, "guide": row["guide"], **{key: float(row[key]) if row[key] else None for key in FIGURES}}
            for row in csv.DictReader(file)
        ]


def _compare(name: str, data: Path, work: Path) -> None:
    out = work / name
    words = ["compare", "--data-root", str(data), *(word.replace("DATA", str(data)) for word in SETS[name].split())]
    words += ["--num-samples", "500", "--diagnose", "0", "--out", str(out), *(["--resume"] if out.exists() else [])]
    command(words, work / f"{name}.log")


def _copy(report: Path, to: Path, data: str) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for path in report.iterdir():
        if path.suffix in {".csv", ".md", ".png"}:
            shutil.copy(path, to)
    config = (report / "config.yaml").read_text().replace(data, "DATA").replace(str(report), report.name)
    (to / "config.yaml").write_text(config)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row["difference"] is None:
        return f"{row['log_likelihood']:.2f}"
    return f"{row['difference']:+.2f} [{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]"
