"""Eleven systems on Caltech-101 Silhouettes: log p(x) of the model above mean-field's, nats.

4,100 training images of Marlin's standard split, objects 0 and background 1, as in his file; networks, training and
figures as in [binarized_mnist](../binarized_mnist/README.md), but for up to 400 epochs, and 40 from a start. On
validation data a weight decay of 0.2, 0.5 or 1 was no better, nor was a cosine schedule over 200 or 300 epochs.
Encoders overfit so few images, as the gaps tell: the ELBO, by which epochs are chosen, then says little of log p(x).

DATA holds `caltech101-silhouettes.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted
call resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.binarized_mnist import systems
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import answer as answer
from benchmarks.helpers.systems import measure_systems, systems_page
from benchmarks.helpers.systems import not_shown as not_shown

DATA = "--data caltech-101-silhouettes --data-root DATA/caltech101-silhouettes.npz"
EPOCHS, CONTINUED = 400, 40


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    return measure_systems(systems(DATA, EPOCHS, CONTINUED), folders)


def page(rows: Sequence[Row]) -> list[str]:
    return systems_page(rows, systems(DATA, EPOCHS, CONTINUED))
