"""Autoregressive decoders on static MNIST: NLL, KL and a linear probe, nats.

All 50,000 images of Larochelle's fixed binarization once, seeds 0, 1: the decoder without a code, the plain VAE, the
MAE loss, and the lossy autoencoder with its published window, free bits and flow prior. Decoders of 6 layers of 16
channels; the first three see the whole image above and to the left. NLL: - log p(x) of 500 test images, evenly spaced,
by regression on their ELBO from the estimates of 10 of them, ± the standard error of what that leaves unexplained. Δ:
NLL above the plain VAE's of the same seed, with its error. ELBO, KL and active units: of the same 500 images. Linear
probe: test accuracy of logistic regression from means of 50 draws of z to the digit.

DATA holds `binarized-mnist.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.binarized_mnist import ABOUT_PUBLISHED, DATA
from benchmarks.helpers.codes import figures_table, train_and_measure, trainings_list, worse
from benchmarks.helpers.results import Folders, Row

SEEDS, IMAGES = (0, 1), 10
TRAINING = f"{DATA} --epochs 1 --batch-size 32 --lr 2e-3 --ema 0.99"
DECODER = "pixelcnn(window=({window}),layers=6,channels=16)"
WHOLE, PUBLISHED = (DECODER.format(window=window) for window in ("39,19", "13,6"))
BASELINE = "vae"
SYSTEMS = {
    "pixelcnn": f"pixelcnn {TRAINING} --likelihood {WHOLE}",
    BASELINE: f"vae {TRAINING} --likelihood {WHOLE} --latent-dim 20",
    "mae": f"mae {TRAINING} --likelihood {WHOLE} --latent-dim 20",
    "lossy": f"lossy {TRAINING} --likelihood {PUBLISHED} --latent-dim 20",
}
PUBLISHED_NLL = 79.03  # NLL of the lossy autoencoder on the same images
COLUMNS = "nll nll_stderr unreliable worse worse_stderr elbo kl active_units probe epochs minutes"


def run(folders: Folders) -> list[Row]:
    """One row per system and seed."""
    measured = train_and_measure(SYSTEMS, SEEDS, folders, IMAGES)
    rows = []
    for (name, seed), row in measured.items():
        above = {} if name == BASELINE else worse(row, measured[BASELINE, seed])
        rows.append({key: value for key, value in (row | above).items() if key != "nll_per_datum"})
    return rows


def page(rows: Sequence[Row]) -> list[str]:
    return [*figures_table(rows, COLUMNS), "", *trainings_list(rows), "", ABOUT_PUBLISHED]


def not_shown(rows: Sequence[Row]) -> list[str]:
    """What two seeds cannot tell, and what was published and not reached."""
    lossy = [row["nll"] for row in rows if row["training"].startswith("lossy")]
    lines = ["Two seeds rank no system above another."]
    if min(lossy) > PUBLISHED_NLL:
        reached = " and ".join(f"{nll:.2f}" for nll in lossy)
        lines.append(f"The published NLL of the lossy autoencoder, {PUBLISHED_NLL} nats, was not reached: {reached}.")
    return lines
