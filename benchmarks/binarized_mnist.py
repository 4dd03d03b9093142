"""Eleven systems on static MNIST: log p(x) of the model above mean-field's, nats.

Larochelle's fixed binarization, 50,000 training images; 32 latents, fully connected networks of 256 and 256 units with
a factorized Bernoulli decoder. AdamW with the learning rate 1e-3 and a weight decay of 0.1, averaged weights, those of
the best epoch on validation data; a training ends after 12 epochs without a rise, or at 300. Systems whose steps take
long start from the mean-field's weights of the same seed instead and get 6 epochs, as does mean-field itself, the
baseline of these.

Tried on validation data, mean-field with seed 0, ELBO: -96.7 without weight decay, -97.0 and -97.2 with a cosine
schedule over 100 epochs with and without, -95.5 after 200 epochs as here. Networks of 512 and 512 units with twice the
learning rate were behind after two minutes and not followed further.

DATA holds `binarized-mnist.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import START, measure_systems, systems_page
from benchmarks.helpers.systems import answer as answer
from benchmarks.helpers.systems import not_shown as not_shown

DATA = "--data binarized-mnist --data-root DATA/binarized-mnist.npz"
EPOCHS, CONTINUED = 300, 6  # at most, from scratch and from a start
NETWORKS = "vae --latent-dim 32 --hidden 256,256 --likelihood bernoulli"
TRAINING = "--patience 12 --optimizer adamw(weight_decay=0.1) --ema 0.999"
FROM_SCRATCH = {
    "mean-field": "",
    "autoregressive-flow prior": "--prior autoregressive-flow",
    "inverse-autoregressive-flow": "--guide inverse-autoregressive-flow",
    "full-covariance": "--guide full-covariance",
    "householder": "--guide householder",
}
STARTED = {
    "mean-field, continued": "",
    "mixture": "--guide mixture",
    "recursive-mixture": "--guide recursive-mixture",
    "laplace(updates=1)": "--guide laplace(updates=1)",
    "semi-amortized(steps=8)": "--guide semi-amortized(steps=8)",
    "iwae(num_particles=50)": "--loss iwae(num_particles=50)",
}
ABOUT_PUBLISHED = (
    "Published on the same images, by Variational Lossy Autoencoder (Chen et al., 2017), by 4,096 importance samples: "
    "-79.88 with an inverse autoregressive flow as posterior, -79.30 with an autoregressive flow as prior, -79.03 for "
    "the lossy autoencoder. Their encoders and decoders are convolutional residual networks, so that these figures are "
    "no aim for fully connected ones."
)


def systems(data: str, epochs: int, continued: int) -> dict[str, str]:
    """Arguments of ``pyro_vaes train`` by name of the system, with the arguments of a data set."""
    common = f"{NETWORKS} {data} {TRAINING} --epochs"
    from_scratch = {name: f"{common} {epochs} {flags}".strip() for name, flags in FROM_SCRATCH.items()}
    started = {name: f"{common} {continued} {START} {flags}".strip() for name, flags in STARTED.items()}
    return from_scratch | started


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    return measure_systems(systems(DATA, EPOCHS, CONTINUED), folders)


def page(rows: Sequence[Row]) -> list[str]:
    return [*systems_page(rows, [*FROM_SCRATCH, *STARTED]), "", ABOUT_PUBLISHED]
