"""Bits per dimension of CIFAR-10: a Gaussian likelihood of learned scale, and a PixelCNN++ decoder.

20,000 training images, not the 50,000 of published figures; one seed, so that the two cannot be ranked. Gaussians are
densities of pixels with uniform noise, from which the bits of 256 levels follow as an upper bound; the other is a
distribution over the levels. Bits are those of the ELBO of 500 test images, evenly spaced, hence at most these: 10 nats
of a gap are 0.005 bits per dimension.

DATA holds `cifar10-20k.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.helpers.codes import draw_samples, figures_table, train_and_measure, trainings_list
from benchmarks.helpers.results import Folders, Row

SEED = 0
DATA = "--data DATA/cifar10-20k.npz"
SYSTEMS = {
    "gaussian": (
        f"vae {DATA} --likelihood gaussian --network conv --hidden 64,128 --latent-dim 128 --epochs 24 --ema 0.99"
    ),
    "lossy": (
        f"lossy {DATA} --loss elbo --likelihood pixelcnnpp(window=(7,4),blocks=3,channels=16,components=5) "
        "--latent-dim 32 --batch-size 32 --lr 2e-3 --ema 0.99 --epochs 3"
    ),
}
ABOUT_SAMPLES = (
    "No sample looks like an object: those of the Gaussian are blurs of colors under the noise of its scale, those of "
    "PixelCNN++, whose code is empty, are streaks of color."
)
COLUMNS = "bits_per_dim elbo kl active_units probe epochs minutes"


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    measured = train_and_measure(SYSTEMS, [SEED], folders, images=0)
    for (name, _), row in measured.items():
        draw_samples(folders.work / row["run"], folders.results / f"{name}.png")
    return [*measured.values()]


def page(rows: Sequence[Row]) -> list[str]:
    pictures = [f"![originals, what {name} draws at their codes, samples]({name}.png)" for name in SYSTEMS]
    return [*figures_table(rows, COLUMNS), "", *pictures, "", ABOUT_SAMPLES, "", *trainings_list(rows)]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """What one seed cannot tell, and what samples do not look like."""
    return ["One seed ranks neither likelihood above the other.", ABOUT_SAMPLES]
