"""Eleven systems on Omniglot at 28 x 28: log p(x) of the model above mean-field's, nats.

24,345 training images of fifteen drawers, 8,115 test images of five others, binarized dynamically in training and by
one fixed draw in testing; resized by area averaging, hence not the images of the literature. Networks, training and
figures as in [binarized_mnist](../binarized_mnist/README.md).

DATA holds `omniglot28.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.binarized_mnist import systems
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import answer as answer
from benchmarks.helpers.systems import measure_systems, systems_page
from benchmarks.helpers.systems import not_shown as not_shown

DATA = "--data DATA/omniglot28.npz"
EPOCHS, CONTINUED = 200, 10


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    return measure_systems(systems(DATA, EPOCHS, CONTINUED), folders)


def page(rows: Sequence[Row]) -> list[str]:
    return systems_page(rows, systems(DATA, EPOCHS, CONTINUED))
