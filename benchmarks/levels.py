"""Ladders, hierarchies and clusters on coloured and on grey MNIST, two trainings at a time with one thread each.

``python -m benchmarks.levels DATA WORK``: DATA holds MNIST in torchvision's layout, WORK gets the runs and is gone on
with where it was interrupted. The tables and pictures go to ``benchmarks/results/levels``.
"""

from __future__ import annotations

import json
import platform
import shutil
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import pyro_vaes as pv
from benchmarks.running import AT_ONCE, command, places, train_all
from benchmarks.timing import RESULTS
from pyro_vaes import __version__
from pyro_vaes.reports.traverse import traverse

SEEDS = (0, 1, 2)
COLOURED = "--data coloured-mnist --train-size 10000"
SYSTEMS = {
    "ladder": f"ladder {COLOURED} --epochs 50",
    "hierarchical": f"hierarchical {COLOURED} --epochs 50",
    "ladder-mixture": (
        f"ladder-mixture {COLOURED} --latent-dim 6,12 --prior gaussian-mixture(components=25),"
        "gaussian-mixture(components=10) --epochs 50 --cluster-epoch 35"
    ),
    "mixture": (
        f"mixture {COLOURED} --likelihood gaussian(scale=0.177,learn=False) --latent-dim 16 --hidden 384,256 "
        "--batch-size 100 --epochs 16 --cluster-epoch 6"
    ),
    "mixture-grey": (
        "mixture --data mnist --prior gaussian-mixture(components=20) --latent-dim 10 --hidden 300,300 --epochs 5 "
        "--cluster-epoch 2"
    ),
}
PICTURED = {"ladder": "traversals", "hierarchical": "traversals", "ladder-mixture": "clusters-z1 clusters-z2"}
LADDER = ((256,), (256, 256), (256, 256, 256))  # hidden layers of each level of the ladder on grey MNIST
PUBLISHED = (
    "Published for GM-DGM (the model of `mixture-grey`) on MNIST: 96.3 ± 0.9 %, with the checkpoint picked by test "
    "accuracy; here it is picked by the validation ELBO, within minutes on a CPU."
)
LADDER_ON_MNIST = (
    "A ladder of three levels of 2 on 20,000 images of grey MNIST, 20 epochs, seed 0. Its highest level is there from "
    "the start, and the lower ones fade in one after another (`ProgressiveELBO`); with a warm-up of the KL instead, "
    "the same ladder left identity to the lowest level."
)


def main() -> None:
    """Train, look, write the tables."""
    (data, work), out = places(__doc__), RESULTS / "levels"
    jobs = {
        f"{name}-seed{seed}": [*words.split(), "--data-root", str(data), "--seed", str(seed)]
        for name, words in SYSTEMS.items()
        for seed in SEEDS
    }
    train_all(jobs, work)
    out.mkdir(parents=True, exist_ok=True)
    if not (work / "ladder-mnist").exists():
        _ladder_on_mnist(data, work / "ladder-mnist")
    unseen = [name for name in jobs if not (work / name / "levels.json").exists()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: command(["traverse", str(work / name)], work / f"{name}.log"), unseen))
    found = {name: [_found(work / f"{name}-seed{seed}") for seed in SEEDS] for name in SYSTEMS}
    (out / "levels.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text("\n".join(_page(found)), encoding="utf-8")
    for name, pictures in PICTURED.items():
        for picture in pictures.split():
            shutil.copy(work / f"{name}-seed0" / f"{picture}.png", out / f"{name}-{picture}.png")
    shutil.copy(work / "ladder-mnist" / "traversals.png", out / "ladder-mnist-traversals.png")


def _ladder_on_mnist(root: Path, out: Path) -> None:
    """A ladder of three levels on 20,000 grey digits, the deeper ones with more layers, the highest faded in first."""
    data, sizes = pv.data.load("mnist", root, train_size=20_000), (2, 2, 2)
    torch.manual_seed(0)
    decoder = pv.networks.LadderMLPDecoder(sizes, data.event_shape, LADDER, merge="gate")
    likelihood = pv.likelihoods.Gaussian(scale=0.25, learn=False)
    model = pv.models.LadderVAE(decoder, [pv.priors.StandardNormal(size) for size in sizes], likelihood)
    guide = pv.models.LadderGuide(model, pv.networks.LadderMLPEncoder(data.event_shape, LADDER))
    pv.fit(model, guide, data, pv.losses.ProgressiveELBO(steps=1500), epochs=20, batch_size=100, device="cpu")
    traverse(model, guide, data, out)


def _found(run: Path) -> dict[str, Any]:
    """The figures of one training and of its levels."""
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    looked = json.loads((run / "levels.json").read_text())
    last = max(history, key=lambda row: row["valid_elbo"])
    return {
        "minutes": sum(row["seconds"] for row in history) / 60,
        "epochs": len(history),
        "valid_elbo": last["valid_elbo"],
        "kl": {name.removeprefix("kl_"): value for name, value in last.items() if name.startswith("kl_")},
        "data": looked["data"],
        "levels": looked["levels"],
        "clusters": looked["clusters"],
    }


def _page(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = [
        "# Levels and clusters",
        "",
        f"Means over seeds {', '.join(map(str, SEEDS))} ± their standard deviation.",
        "",
    ]
    lines += [
        "## What each level tells",
        "",
        "Accuracy of a linear probe from a level's codes to a factor, on test data.",
        "",
    ]
    for name in ("ladder", "hierarchical", "ladder-mixture"):
        lines += [f"### {name}", "", *_probes(found[name]), ""]
    lines += [
        "## Clusters",
        "",
        "The majority mapping is fitted on training data; the Hungarian one on the scored data, as is the custom.",
        "",
    ]
    lines += _clusters({name: found[name] for name in ("ladder-mixture", "mixture", "mixture-grey")})
    lines += [
        "",
        PUBLISHED,
        "",
    ]
    lines += ["## Trainings", "", *_trainings(found), ""]
    lines += [
        "![levels of the ladder](ladder-traversals.png)",
        "",
        "![levels of the stacked hierarchy](hierarchical-traversals.png)",
        "",
    ]
    lines += [
        "![clusters of the lower level](ladder-mixture-clusters-z1.png)",
        "",
        "![clusters of the higher level](ladder-mixture-clusters-z2.png)",
        "",
    ]
    lines += [LADDER_ON_MNIST, "", "![levels of the ladder on MNIST](ladder-mnist-traversals.png)", ""]
    versions = f"pyro_vaes {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    lines += [f"`python -m benchmarks.levels DATA WORK`, on the CPU, one thread each; {versions}. The trainings:", ""]
    lines += [f"- `{words}`" for words in SYSTEMS.values()]
    return [*lines, ""]


def _probes(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    factors = list(dict.fromkeys(row["factor"] for row in runs[0]["levels"]))
    levels = list(dict.fromkeys(row["level"] for row in runs[0]["levels"]))
    rows = [[level, *(_over(runs, "levels", "accuracy", level, factor) for factor in factors)] for level in levels]
    chance = ["chance", *(f"{row['chance']:.1%}" for row in runs[0]["levels"][: len(factors)])]
    return _table(["level", *factors], [*rows, chance])


def _clusters(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    scores, rows = ("hungarian", "majority", "nmi", "ari"), []
    for name, runs in found.items():
        for row in runs[0]["clusters"]:
            cells = [
                _over(runs, "clusters", score, row["level"], row["factor"], score in scores[:2]) for score in scores
            ]
            rows.append([name, row["level"], row["clusters"], row["factor"], *cells])
    return _table(["model", "level", "clusters", "factor", *scores], rows)


def _trainings(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    rows = []
    for name, runs in found.items():
        kl = ", ".join(f"{site} {statistics.mean(run['kl'][site] for run in runs):.1f}" for site in runs[0]["kl"])
        elbo = _spread([run["valid_elbo"] for run in runs], ".1f")
        rows.append([name, runs[0]["epochs"], _spread([run["minutes"] for run in runs], ".1f"), elbo, kl])
    return _table(["model", "epochs", "minutes a training", "validation ELBO, nats", "KL, nats"], rows)


def _over(
    runs: Sequence[Mapping[str, Any]], table: str, figure: str, level: str, factor: str, percent: bool = True
) -> str:
    """A figure of a level and a factor, over the runs."""
    chosen = [row[figure] for run in runs for row in run[table] if (row["level"], row["factor"]) == (level, factor)]
    return _spread(chosen, ".1%" if percent else ".3f")


def _spread(values: Sequence[float], form: str) -> str:
    return (
        f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"
        if len(values) > 1
        else f"{values[0]:{form}}"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, line))} |" for line in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    main()
