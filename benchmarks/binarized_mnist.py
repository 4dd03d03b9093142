"""Ten systems on static MNIST, each trained until it converges: log p(x) of the model above mean-field's, nats.

Larochelle's fixed binarization, 50,000 training images; 32 latents, fully connected networks of 256 and 256 units with
a factorized Bernoulli decoder. Adam, the learning rate of 1e-3 times 0.3 after 5 epochs without a rise of the
validation ELBO; averaged weights, those of the best epoch; the training ends after 12 epochs without a rise.

DATA holds `binarized-mnist.npz`; WORK gets the trainings, two at a time with one thread each, and an interrupted call
resumes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import measure_systems, systems_page

DATA = "--data binarized-mnist --data-root DATA/binarized-mnist.npz"
NETWORKS = "vae --latent-dim 32 --hidden 256,256 --likelihood bernoulli"
TRAINING = "--epochs 300 --patience 12 --schedule plateau(factor=0.3,patience=5) --ema 0.999"
SYSTEMS = {
    "mean-field": "",
    "autoregressive-flow prior": "--prior autoregressive-flow",
    "inverse-autoregressive-flow": "--guide inverse-autoregressive-flow",
    "full-covariance": "--guide full-covariance",
    "householder": "--guide householder",
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


def systems(data: str) -> dict[str, str]:
    """Arguments of ``pyro_vaes train`` by name of the system, for the arguments of a data set."""
    return {name: " ".join([NETWORKS, data, TRAINING, *flags.split()]) for name, flags in SYSTEMS.items()}


def run(folders: Folders) -> list[Row]:
    """One row per system."""
    return measure_systems(systems(DATA), folders)


def page(rows: Sequence[Row]) -> list[str]:
    return [*systems_page(rows), "", ABOUT_PUBLISHED]
