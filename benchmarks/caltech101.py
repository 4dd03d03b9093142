"""Ten systems on Caltech-101 Silhouettes, each trained until it converges: log p(x) above mean-field's, nats.

4,100 training images of Marlin's standard split; networks, training and figures as in
[binarized_mnist](../binarized_mnist/README.md).

DATA holds `caltech101-silhouettes.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted
call resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.binarized_mnist import systems
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import measure_systems, systems_page

DATA = "--data caltech-101-silhouettes --data-root DATA/caltech101-silhouettes.npz"


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    return measure_systems(systems(DATA), folders)


def page(rows: Sequence[Row]) -> list[str]:
    return systems_page(rows)
