"""Every guide on frozen models of static MNIST, Caltech-101 Silhouettes and Omniglot: the gap that each leaves, nats.

The models are those of mean-field with seed 0 in [binarized_mnist](../binarized_mnist/README.md),
[caltech101](../caltech101/README.md) and [omniglot28](../omniglot28/README.md), and guides start from theirs; training
and figures as in [frozen](../frozen/README.md). Each set has a report of its own, with the gaps against the time of
inference.

DATA and WORK as of these three, from which their models are taken, or trained if they are not there.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import binarized_mnist, caltech101, frozen, omniglot28
from benchmarks.frozen import answer as answer
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import run_name, train_systems

SETS = {"binarized_mnist": binarized_mnist, "caltech101": caltech101, "omniglot28": omniglot28}


def run(folders: Folders) -> list[Row]:
    """One row per set and guide."""
    for name, module in SETS.items():
        flags = binarized_mnist.systems(module.DATA, module.EPOCHS, module.CONTINUED)[frozen.BASELINE]
        train_systems({frozen.BASELINE: flags}, Folders(name, folders.arguments), [0])
    return frozen.compare_on({name: run_name(name, frozen.BASELINE, 0) for name in SETS}, folders)


def page(rows: Sequence[Row]) -> list[str]:
    return [*frozen.page(rows), *_left(rows)]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """Guides that are not distinguishable from mean-field, and sets whose model has not been compared on yet."""
    return [*frozen.not_shown(rows), *_left(rows)]


def _left(rows: Sequence[Row]) -> list[str]:
    return [f"{name} was not compared." for name in SETS if name not in {row["data"] for row in rows}]
