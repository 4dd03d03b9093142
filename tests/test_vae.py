"""VAE: a model like any other of Pyro's, of parts that fit each other."""

import pytest
import torch
from pyro import poutine

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import StandardNormal
from pyro_vaes.testing.pairs import BATCH, pair


def test_the_model_conditions_and_replays_as_any_pyro_model():
    vae, _, x, _ = pair()
    z = torch.randn(BATCH, vae.latent_dim)
    trace = poutine.trace(poutine.condition(vae, data={"z": z})).get_trace(x)
    torch.testing.assert_close(trace.log_prob_sum(), vae.log_joint(x, z).sum())


def test_a_decoder_of_another_latent_size_is_refused():
    with pytest.raises(InputError, match=r"prior's size 3 .*same latent size"):
        VAE(MLPDecoder(2, (5,), hidden=()), StandardNormal(3), Bernoulli())


def test_a_likelihood_shared_by_data_of_other_dimensions_is_refused():
    likelihood = Bernoulli()
    VAE(MLPDecoder(2, (5,)), StandardNormal(2), likelihood)
    with pytest.raises(InputError, match="give each model a likelihood of its own"):
        VAE(MLPDecoder(2, (1, 2, 2)), StandardNormal(2), likelihood)
