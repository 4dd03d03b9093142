"""Levels and clusters: ladders, hierarchies and mixtures on coloured and on gray MNIST.

Means over seeds, as many as the table of trainings says, ± their standard deviation.

DATA holds MNIST in torchvision's layout; WORK gets the trainings, two at a time with one thread each, and an
interrupted call resumes them.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

import pyro_vaes as pv
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import command, train_all, training_figures, two_at_a_time
from benchmarks.helpers.verdicts import highest
from pyro_vaes.evaluate.differences import MeanInterval
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.reports.traverse import FIGURES, TRAVERSALS, traverse

SEEDS = (0, 1, 2, 3, 4)
COLOURED = "--data coloured-mnist --train-size 10000"
SYSTEMS = {
    "ladder": f"ladder {COLOURED} --epochs 50 --warmup 0",
    "hierarchical": f"hierarchical {COLOURED} --epochs 50 --warmup 0",
    "ladder-mixture": (
        f"ladder-mixture {COLOURED} --latent-dim 6,12 --prior gaussian-mixture(components=25),"
        "gaussian-mixture(components=10) --epochs 50 --cluster-epoch 35"
    ),
    "mixture": (
        f"mixture {COLOURED} --likelihood gaussian(scale=0.177,learn=False) --latent-dim 16 --hidden 384,256 "
        "--batch-size 100 --epochs 16 --cluster-epoch 6"
    ),
    "mixture-gray": (
        "mixture --data mnist --prior gaussian-mixture(components=20) --latent-dim 10 --hidden 300,300 --epochs 5 "
        "--cluster-epoch 2"
    ),
}
HIERARCHIES, MIXTURES = ("ladder", "hierarchical", "ladder-mixture"), ("ladder-mixture", "mixture", "mixture-gray")
SCORES = {"hungarian": ".1%", "majority": ".1%", "nmi": ".3f", "ari": ".3f"}
PICTURES = {  # and what they show
    "ladder-traversals": "levels of the ladder",
    "hierarchical-traversals": "levels of the stacked hierarchy",
    "ladder-mixture-clusters-z1": "clusters of the lower level",
    "ladder-mixture-clusters-z2": "clusters of the higher level",
}
LADDER_ON_MNIST = ((256,), (256, 256), (256, 256, 256))  # hidden layers of each level
ABOUT_PUBLISHED = (
    "Published for GM-DGM (the model of `mixture-gray`) on MNIST: 96.3 ± 0.9 %, with the checkpoint picked by test "
    "accuracy; here it is picked by the validation ELBO, within minutes on a CPU."
)
ABOUT_LADDER = (
    "A ladder of three levels of 2 on 20,000 images of gray MNIST, 20 epochs, seed 0. Its highest level is active from "
    "the start, and the lower ones fade in one after another (`ProgressiveELBO`); with a warm-up of the KL instead, "
    "the same ladder left identity to the lowest level."
)


def run(folders: Folders) -> list[Row]:
    """One row per model and seed; the pictures are those of the first seed."""
    data, work, seed = folders.data, folders.work, SEEDS[0]
    jobs = {
        f"{name}-seed{seed}": [*words.split(), "--data-root", str(data), "--seed", str(seed)]
        for name, words in SYSTEMS.items()
        for seed in SEEDS
    }
    train_all(jobs, work)
    if not (work / "ladder-mnist").exists():
        _ladder_on_mnist(data, work / "ladder-mnist")
    new = [name for name in jobs if not (work / name / FIGURES).exists()]
    two_at_a_time(lambda name: command(["traverse", str(work / name)], work / f"{name}.log"), new)
    for picture in PICTURES:
        model = max((name for name in SYSTEMS if picture.startswith(name)), key=len)
        file = f"{picture.removeprefix(f'{model}-')}.png"
        shutil.copy(work / f"{model}-seed{seed}" / file, folders.results / f"{picture}.png")
    shutil.copy(work / "ladder-mnist" / TRAVERSALS, folders.results / f"ladder-mnist-{TRAVERSALS}")
    return [{"model": name, "seed": seed} | _row(work / f"{name}-seed{seed}") for name in SYSTEMS for seed in SEEDS]


def page(rows: Sequence[Row]) -> list[str]:
    found = {name: [row for row in rows if row["model"] == name] for name in SYSTEMS}
    lines = ["## What each level tells", ""]
    lines += ["Accuracy of a linear probe from a level's codes to a factor, on test data.", ""]
    for name in HIERARCHIES:
        lines += [f"### {name}", "", *_probes(found[name]), ""]
    lines += ["## Clusters", ""]
    lines += [
        "The majority mapping is fitted on training data; the Hungarian one on the scored data, as is the custom."
    ]
    cells = [cell for name in MIXTURES for cell in _clusters(name, found[name])]
    lines += ["", markdown_table(["model", "level", "clusters", "factor", *SCORES], cells), "", ABOUT_PUBLISHED, ""]
    cells = [_training(name, runs) for name, runs in found.items()]
    header = ["model", "KL, nats", "seeds", "epochs", "minutes per training", "validation ELBO, nats"]
    lines += ["## Trainings", "", markdown_table(header, cells), "", *(f"- `{words}`" for words in SYSTEMS.values())]
    lines += ["", "## Pictures", ""]
    for picture, shown in PICTURES.items():
        lines += [f"![{shown}]({picture}.png)", ""]
    return [*lines, ABOUT_LADDER, "", f"![levels of the ladder on MNIST](ladder-mnist-{TRAVERSALS})"]


def answer(rows: Sequence[Row]) -> list[str]:
    """The level that tells each factor best, and its margin in accuracy over the next, with its 95 % t interval."""
    return [
        f"{name}: " + ", ".join(f"{factor} by {level} ({_points(margin)})" for factor, level, margin in found) + "."
        for name in HIERARCHIES
        if (found := [each for each in _told(rows, name) if each[2].low > 0])
    ]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """Factors that no level tells best, and the seeds that were left out."""
    count = len({row["seed"] for row in rows})
    left = [f"{count} of {len(SEEDS)} seeds were run."] if count < len(SEEDS) else []
    return left + [
        f"{name}: no level tells {factor} best, {level} is above the other by {_points(margin)}."
        for name in HIERARCHIES
        for factor, level, margin in _told(rows, name)
        if margin.low <= 0
    ]


def _told(rows: Sequence[Row], name: str) -> list[tuple[str, str, MeanInterval]]:
    """Each factor, the level of the highest accuracy, and its margin over the next, paired over seeds."""
    found = [row for row in rows if row["model"] == name]
    told = []
    for factor in dict.fromkeys(each["factor"] for each in found[0]["levels"]):
        accuracy = {
            level: _values(found, "levels", level, factor, "accuracy")
            for level in dict.fromkeys(each["level"] for each in found[0]["levels"])
        }
        told.append((factor, *highest(accuracy)))
    return told


def _points(margin: MeanInterval) -> str:
    return f"{100 * margin.mean:+.1f} points [{100 * margin.low:+.1f}, {100 * margin.high:+.1f}]"


def _ladder_on_mnist(root: Path, out: Path) -> None:
    """A ladder of three levels on 20,000 gray digits, the higher ones with more layers, the highest faded in first."""
    data, sizes = pv.data.load("mnist", root, train_size=20_000), (2, 2, 2)
    torch.manual_seed(0)
    decoder = pv.networks.LadderMLPDecoder(sizes, data.event_shape, LADDER_ON_MNIST, merge="gate")
    likelihood = pv.likelihoods.Gaussian(scale=0.25, learn=False)
    model = pv.models.LadderVAE(decoder, [pv.priors.StandardNormal(size) for size in sizes], likelihood)
    guide = pv.models.LadderGuide(model, pv.networks.LadderMLPEncoder(data.event_shape, LADDER_ON_MNIST))
    pv.fit(model, guide, data, pv.losses.ProgressiveELBO(steps=1500), epochs=20, batch_size=100, device="cpu")
    traverse(model, guide, data, out)


def _row(run: Path) -> Row:
    """The figures of one training and of its levels."""
    report = json.loads((run / FIGURES).read_text())
    return training_figures(run) | {name: report[name] for name in ("data", "levels", "clusters")}


def _probes(runs: Sequence[Row]) -> list[str]:
    factors = list(dict.fromkeys(row["factor"] for row in runs[0]["levels"]))
    levels = list(dict.fromkeys(row["level"] for row in runs[0]["levels"]))
    cells = [
        [level, *(_over(runs, "levels", level, factor, "accuracy", ".1%") for factor in factors)] for level in levels
    ]
    chance = ["chance", *(f"{row['chance']:.1%}" for row in runs[0]["levels"][: len(factors)])]
    return [markdown_table(["level", *factors], [*cells, chance])]


def _clusters(name: str, runs: Sequence[Row]) -> list[list[object]]:
    """One row per clustered level and factor."""
    return [
        [name, row["level"], row["clusters"], row["factor"]]
        + [_over(runs, "clusters", row["level"], row["factor"], score, form) for score, form in SCORES.items()]
        for row in runs[0]["clusters"]
    ]


def _training(name: str, runs: Sequence[Row]) -> list[object]:
    kl = ", ".join(f"{site} {statistics.mean(run['kl'][site] for run in runs):.1f}" for site in runs[0]["kl"])
    return [
        name,
        kl,
        len(runs),
        runs[0]["epochs"],
        *(_spread([run[key] for run in runs], ".1f") for key in ("minutes", "valid_elbo")),
    ]


def _over(runs: Sequence[Row], kind: str, level: str, factor: str, figure: str, form: str) -> str:
    """A figure of a level and a factor, over seeds."""
    return _spread(_values(runs, kind, level, factor, figure), form)


def _values(runs: Sequence[Row], kind: str, level: str, factor: str, figure: str) -> list[float]:
    return [row[figure] for run in runs for row in run[kind] if (row["level"], row["factor"]) == (level, factor)]


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"
