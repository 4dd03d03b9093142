"""Fixtures of the tests of the marginal log-likelihood."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes import VAE, guides
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian


@pytest.fixture
def linear():
    return LinearGaussian()


@pytest.fixture(scope="session")
def digits():
    """A model of two latent dimensions that was trained on digits for a short time, its guide and test images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = pv.data.load("digits", train_size=500)
        vae = VAE(MLPDecoder(2, data.event_shape, hidden=(32,)), StandardNormal(2), Gaussian())
        guide = guides.MeanField(vae, MLPEncoder(data.event_shape, hidden=(32,)))
        pv.fit(vae, guide, data, epochs=20, lr=3e-3, progress=False, step="eager")
    return vae, guide, data.test.x[:8]
