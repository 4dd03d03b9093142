"""A likelihood of two feature maps per pixel, as a user writes one, in training and evaluation."""

import pytest

from pyro_vaes import VAE, evaluate, fit
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.arrays import make, pixels
from tests.helpers.own_parts import ScaleMap


@pytest.mark.parametrize("guide", [MeanField, Laplace])
def test_it_is_trained_and_evaluated(guide):
    likelihood, data = ScaleMap((1, 4, 4)), make(pixels(60, 4, 4))
    vae = VAE(MLPDecoder(2, likelihood.features_shape, hidden=(8,)), StandardNormal(2), likelihood)
    made = guide(vae, MLPEncoder((1, 4, 4), hidden=(8,)))
    run = fit(vae, made, data, epochs=3, device="cpu")
    assert run.history[-1]["valid_elbo"] > run.history[0]["valid_elbo"]
    assert evaluate.log_likelihood(vae, made, data.test.x, num_samples=20).elbo.shape == (5,)
