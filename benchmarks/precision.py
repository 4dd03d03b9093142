"""What bfloat16 costs: test log p(x) of models trained with it above that of the same models in float32, nats.

10,000 images of MNIST, 20 epochs, 16 latents, networks 256-256, a Bernoulli likelihood, 5 seeds. Only the layers of
networks are in bfloat16; log p(x) of both is estimated in float32.

DATA holds MNIST in torchvision's layout; WORK gets the trainings, two at a time with one thread each, and an
interrupted call resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.helpers.estimated_models import MNIST
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import answer as answer
from benchmarks.helpers.systems import measure_systems, systems_page
from benchmarks.helpers.systems import not_shown as not_shown

SEEDS = (0, 1, 2, 3, 4)
GUIDES = ("mean-field", "laplace(updates=1)")
PRECISIONS = ("float32", "bfloat16")


def run(folders: Folders) -> list[Row]:
    """One row per guide and precision."""
    flags = f"vae {MNIST} --data-root DATA --likelihood bernoulli"
    return [
        row | {"guide": guide}
        for guide in GUIDES
        for row in measure_systems(
            {f"{guide}, {each}": f"{flags} --guide {guide} --precision {each}" for each in PRECISIONS}, folders, SEEDS
        )
    ]


def page(rows: Sequence[Row]) -> list[str]:
    """A table per guide."""
    return [line for guide in GUIDES for line in (*systems_page([row for row in rows if row["guide"] == guide]), "")][
        :-1
    ]
