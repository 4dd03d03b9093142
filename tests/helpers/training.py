"""Small pairs and trainings, and what happens to them."""

import signal
from functools import partial

import numpy as np
import torch

from pyro_vaes import VAE, fit
from pyro_vaes.data import Data
from pyro_vaes.guides import FullCovariance, Laplace, MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.models import MixtureGuide, MixtureVAE
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal

GUIDES = {"MeanField": MeanField, "FullCovariance": FullCovariance, "Laplace": partial(Laplace, warmup=2)}
SHAPE = (1, 4, 4)
TIMES = {"step_ms", "seconds"}
FILES = ["checkpoint.pt", "config.yaml", "metrics.jsonl"]
BATCH, STEPS = 32, 3  # STEPS gradient steps an epoch of the 86 training images


def pixels(n=95):
    """Two blurred patterns in gray: something to learn."""
    rng = np.random.default_rng(0)
    patterns = rng.random((2, 4, 4))
    return (200 * patterns[rng.integers(0, 2, n)] + 50 * rng.random((n, 4, 4))).astype(np.uint8)


DATA = Data.from_arrays(x_train=pixels(), x_test=pixels(20))
BINARY = Data.from_arrays(x_train=pixels(), x_test=pixels(20), binarize="dynamic")


def build(guide="MeanField", hidden=16, likelihood=None, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = VAE(MLPDecoder(2, SHAPE, hidden=(hidden,)), StandardNormal(2), likelihood or Gaussian())
        return vae, GUIDES[guide](vae, MLPEncoder(SHAPE, hidden=(hidden,)))


def train(pair, data=DATA, **options):
    defaults = {"epochs": 2, "batch_size": BATCH, "lr": 1e-2, "device": "cpu", "progress": False}
    return fit(*pair, data, **{**defaults, **options})


def weights(pair):
    return {f"{i}.{key}": value.clone() for i, m in enumerate(pair) for key, value in m.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def timeless(history):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def clustered(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MixtureVAE(MLPDecoder(2, SHAPE, hidden=(16,)), GaussianMixture(2, components=3), Gaussian())
        return model, MixtureGuide(model, MLPEncoder(SHAPE, hidden=(16,)))


ALWAYS = 1e-9  # minutes: a checkpoint after every step


def at_step(step, loss, happens):
    """The loss, with which something happens before a gradient step, counted from 0."""
    objective = loss.objective

    def watched(*args):
        if torch.is_grad_enabled() and loss.num_steps == step:
            happens()
        return objective(*args)

    loss.objective = watched
    return loss


def interrupt():
    raise KeyboardInterrupt


def terminate():
    signal.raise_signal(signal.SIGTERM)


def assert_same(one, other):
    """Two checkpoints, but for the times."""
    for name in ("model", "guide"):
        assert_equal(one[name], other[name])
    last, expected = ({k: v for k, v in each["last"].items() if k != "kind"} for each in (one, other))
    torch.testing.assert_close(last, expected, rtol=0, atol=0)
    assert timeless(one["history"]) == timeless(other["history"])
    assert one["best_epoch"] == other["best_epoch"]
