"""Sound parts of a user's own pass the checks, whatever their weights."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import Guide, testing
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.testing.models import posterior_draws_have_its_density
from tests.helpers.own_parts import ScaleMap, Spline, TooDense, TooWide, convolutional


class NoFisher(Likelihood):
    """A likelihood without curvature: nothing wrong with it."""

    def forward(self, features):
        return self.to_event(dist.Laplace(features, 1.0))


def test_a_wrapped_decoder_passes():
    testing.check_model(convolutional(wrapped=True))


@pytest.mark.parametrize("likelihood", [NoFisher, ScaleMap])
def test_a_likelihood_of_ones_own_passes(likelihood):
    testing.check_likelihood(likelihood)


def test_a_guide_of_splines_passes():
    testing.check_guide(lambda *pair: Spline(*pair, bound=6.0, flows=2))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"count_bins": 16, "flows": 3}, {"bound": 6.0, "flows": 2}], ids=str)
def test_a_right_density_passes_whatever_the_weights(options):
    for made in pairs_of(lambda *pair: Spline(*pair, **options)):
        posterior_draws_have_its_density(lambda made=made: made)


@pytest.mark.slow
@pytest.mark.parametrize("guide", [TooDense, TooWide])
def test_a_wrong_density_is_found_whatever_the_weights(guide):
    for made in pairs_of(guide):
        with pytest.raises(AssertionError, match="draws and log_prob disagree"):
            posterior_draws_have_its_density(lambda made=made: made)


def pairs_of(guide):
    """Pairs with several initial weights."""
    for seed in range(4):
        torch.manual_seed(seed)
        yield testing.pair(guide, shape=(5,))


def test_a_guide_in_ten_lines_passes():
    class Narrow(Guide):
        def __init__(self, vae, encoder):
            super().__init__(vae, encoder, outputs=vae.latent_dim)

        def posterior(self, x):
            return dist.Normal(self.head(self.encode(x)), 0.5).to_event(1)

    testing.check_guide(Narrow)
