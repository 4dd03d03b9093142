"""Every guide on a frozen model: the gap log p(x) - ELBO that each leaves under one and the same model, nats.

Each model is trained once with a mean-field guide for 60 epochs, its learning rate falling to 0 by a cosine schedule:
16 latents, networks 256-256, averaged weights; 50,000 images of MNIST and Fashion-MNIST, the training split of
omniglot28. Then it is frozen, and each guide starts from that mean-field guide and is trained for 4 more epochs on the
same images, again by a cosine schedule; 3 seeds. log p(x) of 1,000 test images is estimated once. Gaps have
95 % t intervals over seeds and images; approximation and amortization gap are those of 10 images of the first seed.
Each set has a report of its own with pictures.

DATA holds MNIST and Fashion-MNIST in torchvision's layout and `omniglot28.npz`; WORK gets the trainings, and an
interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.guides import GUIDES
from benchmarks.helpers.comparisons import compare_all, read_rows
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import train_all, words
from benchmarks.helpers.verdicts import Difference, beyond_intervals, not_distinguishable
from pyro_vaes.reports.tables import markdown_table

MODEL = "vae --ema 0.99 --epochs 60 --schedule cosine"
MODELS = {
    "mnist-bernoulli": f"{MODEL} --data mnist --train-size 50000 --likelihood bernoulli",
    "mnist-gaussian": f"{MODEL} --data mnist --train-size 50000 --likelihood gaussian",
    "fashion-mnist-gaussian": f"{MODEL} --data fashion-mnist --train-size 50000 --likelihood gaussian",
    "omniglot28-bernoulli": f"{MODEL} --data DATA/omniglot28.npz --likelihood bernoulli",
}
TRAINING = "--epochs 4 --schedule cosine --ema 0.99 --seeds 3 --test-size 1000 --num-samples 200 --images 10"
BASELINE = "mean-field"
PARTS = ("approximation_gap", "amortization_gap")


def run(folders: Folders) -> list[Row]:
    """One row per set and guide."""
    flags = {f"model-{name}": f"{each} --data-root DATA" for name, each in MODELS.items()}
    train_all({name: words(each, folders.data) for name, each in flags.items()}, folders.work)
    return compare_on({name: f"model-{name}" for name in MODELS}, folders)


def compare_on(models: Mapping[str, str], folders: Folders) -> list[Row]:
    """One row per set and guide, from the reports of the comparisons, which are copied.

    Args:
        models: the run under WORK, of a model with its mean-field guide, by name of the set.
        folders: of the benchmark.
    """
    flags = {name: f"--model WORK/{run} --start WORK/{run}" for name, run in models.items()}
    compare_all({name: f"{each} --guides {GUIDES} {TRAINING}" for name, each in flags.items()}, folders)
    return [row for name in models for row in _rows(name, folders.results / name / "report.csv")]


def page(rows: Sequence[Row]) -> list[str]:
    """A table per set."""
    lines = []
    for name in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == name]
        lines += [f"## {name}", "", f"log p(x) = {mine[0]['log_likelihood']:.2f} nats; [report]({name}/report.md).", ""]
        lines += [_table(mine), ""]
    return lines


def answer(rows: Sequence[Row]) -> list[str]:
    """Guides whose ELBO is above or below that of mean-field, beyond the interval."""
    return beyond_intervals(_differences(rows), "ELBO")


def not_shown(rows: Sequence[Row]) -> list[str]:
    """Guides that are not distinguishable from mean-field."""
    return not_distinguishable(_differences(rows))


def _differences(rows: Sequence[Row]) -> list[Difference]:
    ends = ("difference", "difference_low", "difference_high")
    others = (row for row in rows if row["guide"] != BASELINE)
    return [Difference(row["guide"], f"{BASELINE} on {row['data']}", *(row[end] for end in ends)) for row in others]


def _rows(name: str, report: Path) -> list[Row]:
    """The rows of a report, with the name of its set."""
    return [
        {"data": name, "guide": row.pop("guide"), **{key: _number(value) for key, value in row.items()}}
        for row in read_rows(report)
    ]


def _number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


def _table(rows: Sequence[Row]) -> str:
    header = ["guide", "ELBO", "gap", "approximation", "amortization", "seconds of training", "ms per inference of 128"]
    cells = [
        [
            row["guide"],
            f"{row['elbo']:.2f}",
            f"{row['gap']:.2f} [{row['gap_low']:.2f}, {row['gap_high']:.2f}]",
            *(
                "" if row.get(part) is None else f"{row[part]:.2f}"
                for part in ("approximation_gap", "amortization_gap")
            ),
            f"{row['train_seconds']:.0f}",
            f"{row['inference_ms']:.2f}",
        ]
        for row in rows
    ]
    return markdown_table(header, cells)
