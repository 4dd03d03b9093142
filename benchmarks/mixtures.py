"""Mixtures as published: accuracy of their clusters on MNIST, as far as some minutes per training go.

The recipes `mixture` and `ladder-mixture` with their published settings on gray MNIST, without labels, seeds 0, 1, 2,
one thread each. A training ends after the epoch in which its minutes are over, 30 of `mixture` and 20 of
`ladder-mixture`, far from the published number of epochs. The ladder of mixtures would not fade in its second level by
then: its schedule is shortened to 4 epochs of the highest level alone and a fade-in over 6. Majority maps each cluster
to its most frequent training digit; the weights are those of the best validation ELBO.

DATA holds MNIST in torchvision's layout; WORK gets the trainings, and an interrupted call resumes them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyro_vaes as pv
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.recipes import RECIPES, Settings, build_seeded, load_data
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.reports.traverse import FIGURES, traverse
from pyro_vaes.training import TimeLimit

SEEDS = (0, 1, 2)
MINUTES = {"mixture": 30, "ladder-mixture": 20}
SHORTENED = {"ladder-mixture": {"loss": "progressive-elbo(steps=684, alone=456)", "cluster_epoch": 4}}  # 114 per epoch
PUBLISHED = {"mixture": "96.3 ± 0.9 %, GM-DGM", "ladder-mixture": "92.0 ± 3.0 %, MFCVAE"}
ABOUT_PUBLISHED = "GM-DGM picked its checkpoint by test accuracy; the figure of MFCVAE is that of its README."
SCORES = {"majority": ".1%", "hungarian": ".1%", "nmi": ".3f"}


def run(folders: Folders) -> list[Row]:
    """One row per recipe, seed and clustered level."""
    return [row for name in PUBLISHED for seed in SEEDS for row in _rows(name, seed, folders.data, folders.work)]


def page(rows: Sequence[Row]) -> list[str]:
    header = ["recipe", "level", "clusters", *SCORES, "epochs", "published"]
    levels = dict.fromkeys((row["recipe"], row["level"], row["clusters"]) for row in rows)
    cells = []
    for recipe, level, clusters in levels:
        found = [row for row in rows if (row["recipe"], row["level"]) == (recipe, level)]
        scores = [_spread([row[name] for row in found], form) for name, form in SCORES.items()]
        epochs = _spread([float(row["epochs"]) for row in found], ".0f")
        cells.append([recipe, level, clusters, *scores, epochs, PUBLISHED[recipe]])
    return [markdown_table(header, cells), "", _collapsed(rows), "", ABOUT_PUBLISHED]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """The published accuracies."""
    published = ", ".join(f"{figure} ({recipe})" for recipe, figure in PUBLISHED.items())
    return [f"The published accuracies, {published}, were not reached. {_collapsed(rows)}"]


def _collapsed(rows: Sequence[Row]) -> str:
    single = [row for row in rows if not row["nmi"]]
    return f"In {len(single)} of the {len(rows)} clusterings of a seed and level every test image is in one cluster."


def _rows(name: str, seed: int, root: Path, work: Path) -> list[Row]:
    """The scores of one training, which is resumed, or kept if it is finished."""
    out = work / f"{name}-seed{seed}"
    if not (out / FIGURES).exists():
        _train(name, seed, root, out)
    history = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    report = json.loads((out / FIGURES).read_text(encoding="utf-8"))
    common = {"recipe": name, "seed": seed, "epochs": len(history)}
    return [common | row for row in report["clusters"]]


def _train(name: str, seed: int, root: Path, out: Path) -> None:
    chosen = RECIPES[name].settings(published=True, data="mnist")
    settings: Settings = replace(
        chosen, data="mnist", data_root=str(root), seed=seed, device="cpu", **SHORTENED.get(name, {})
    )
    data = load_data(settings)
    system = build_seeded(RECIPES[name], data.event_shape, settings, seed)
    resume = (out / "checkpoint.pt").exists()
    limit = TimeLimit(MINUTES[name])
    pv.fit(*system[:2], data, system.loss, **settings.training, out=out, resume=resume, callbacks=[limit])
    traverse(system.model, system.guide, data, out)


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"
