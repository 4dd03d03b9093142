"""Traces of model and guide: discrete latents are enumerated on demand."""

import pyro
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.traces import paired_traces, sample_sites
from tests.helpers.mixtures import BATCH, K, mixture


def test_traces_enumerate_on_demand_alone():
    model, guide, x, _ = mixture()
    drawn, _ = paired_traces(model, guide, x)
    every, guide_trace = paired_traces(model, guide, x, num_particles=2, enumerate_discrete=True)
    assert sample_sites(drawn)["y"]["value"].shape == (BATCH,)
    assert sample_sites(drawn)["x"]["log_prob"].shape == (BATCH,)
    assert sample_sites(every)["y"]["value"].shape == (K, 1, 1)
    assert sample_sites(every)["x"]["log_prob"].shape == (K, 2, BATCH)
    total = sample_sites(guide_trace)["y"]["log_prob"].exp().sum(0)
    torch.testing.assert_close(total.expand(2, -1), torch.ones(2, BATCH))


def test_a_discrete_latent_that_is_not_enumerated_is_refused():
    model, guide, x, _ = mixture()

    def drawn(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", guide.local_parameters(x).clusters())
            pyro.sample("z", guide.posterior(x))

    with pytest.raises(InputError, match="site 'y' samples Categorical, which has no reparameterized sampler"):
        ELBO().terms(model, drawn, x)
