"""Parameters that lie in Pyro's store alone are found."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from pyro_vaes import VAE, testing
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Likelihood
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal


class StoredLocation(StandardNormal):
    """A prior with a parameter of Pyro's store."""

    def forward(self):
        return dist.Normal(pyro.param("loc", torch.zeros(self.latent_dim)), 1.0).to_event(1)


class StoredScale(Likelihood):
    """A likelihood with a parameter of Pyro's store."""

    def forward(self, features):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        return self.to_event(dist.Normal(features, scale))


class StoredShift(MeanField):
    """A guide with a parameter of Pyro's store."""

    def posterior(self, x):
        q = super().posterior(x)
        return dist.Normal(q.mean + pyro.param("shift", lambda: torch.zeros(())), q.stddev).to_event(1)


def stored_pair():
    vae = VAE(MLPDecoder(2, (5,), (4,)), StoredLocation(2), Bernoulli())
    return vae, MeanField(vae, MLPEncoder((5,), (4,)))


@pytest.mark.parametrize(
    ("check", "part", "name"),
    [
        (testing.check_prior, StoredLocation, "loc"),
        (testing.check_likelihood, StoredScale, "scale"),
        (testing.check_guide, StoredShift, "shift"),
        (testing.check_model, stored_pair, "loc"),
    ],
)
def test_parameters_of_the_store_alone_are_found(check, part, name):
    words = rf"parameters_belong_to_modules: InputError: the parameter '{name}' .* write self\.{name} = nn\.Parameter"
    with pytest.raises(AssertionError, match=words):
        check(part)
