"""Guides as starts of the marginal log-likelihood: whichever it is, the estimate is the same."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import VAE, guides
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.quadrature import EXACT, assert_equals, grid_log_likelihood

GUIDES = {
    "MeanField": {},
    "FullCovariance": {},
    "LowRank": {},
    "Householder": {},
    "Laplace": {},
    "SemiAmortized": {"steps": 2},
    "InverseAutoregressiveFlow": {"hidden": (8,)},
    "Mixture": {"components": 2},
    "RecursiveMixture": {"components": 2},
}


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_can_start_it(digits, name):
    vae, _, x = digits
    guide = getattr(guides, name)(vae, MLPEncoder(x.shape[1:], hidden=(5,)), **GUIDES[name])
    result = marginal_log_likelihood(vae, x[:3], guide, num_samples=500)
    assert_equals(result, grid_log_likelihood(vae, x[:3], points=301), largest=0.1)


def test_two_guides_give_one_figure(digits):
    vae, guide, x = digits
    first, second = (marginal_log_likelihood(vae, x, each, seed=seed) for seed, each in enumerate((guide, None)))
    errors = (first.per_datum_stderr.square() + second.per_datum_stderr.square()).sqrt()
    mean_error = errors.square().sum().sqrt() / len(x)
    assert abs(first.mean - second.mean) < 3 * mean_error
    assert ((first.per_datum - second.per_datum).abs() < 4 * errors).all()


def test_a_users_guide_of_a_library_model(linear):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3).double(), 1.0).to_event(1))

    result = marginal_log_likelihood(linear.vae, linear.x, guide)
    torch.testing.assert_close(result.per_datum, linear.log_evidence, rtol=0, atol=EXACT)


def test_a_guide_of_another_size_is_refused(linear):
    other = VAE(MLPDecoder(2, (1, 2, 4), hidden=()), StandardNormal(2), Gaussian(0.5)).double()
    guide = guides.MeanField(other, MLPEncoder((1, 2, 4), hidden=(3,))).double()
    with pytest.raises(InputError, match=r"latents and their sizes are \{'z': 3\}, but the guide samples \{'z': 2\}"):
        marginal_log_likelihood(linear.vae, linear.x, guide)


class Overflowing(dist.Normal):
    """A normal whose log density is not a number beyond one standard deviation, as where a flow overflows."""

    def log_prob(self, value):
        return super().log_prob(value).masked_fill((value - self.loc).abs() > self.scale, torch.nan)


def steep_flow(vae, x):
    """An inverse autoregressive flow whose inverse overflows away from its own draws."""
    guide = guides.InverseAutoregressiveFlow(vae, MLPEncoder(x.shape[1:], hidden=(5,)), hidden=(8,))
    with torch.no_grad():
        for weight in guide.parameters():
            weight *= 20
    return guide


def library_guide(vae, x):
    class Uneven(guides.MeanField):
        def family(self, parameters, x):
            q = super().family(parameters, x).base_dist
            return Overflowing(q.loc, q.scale).to_event(1)

    return Uneven(vae, MLPEncoder(x.shape[1:], hidden=(5,)))


def users_guide(vae, x):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Overflowing(torch.zeros(len(x), 2), 1.0).to_event(1))

    return guide


@pytest.mark.parametrize("make", [steep_flow, library_guide, users_guide])
def test_a_guide_whose_density_overflows_far_out_does_no_harm(digits, make):
    vae, _, x = digits
    result = marginal_log_likelihood(vae, x[:3], make(vae, x), num_samples=500)
    assert_equals(result, grid_log_likelihood(vae, x[:3], points=301), largest=0.1)
