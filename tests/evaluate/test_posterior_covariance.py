"""Posterior covariances: closed forms, draws, several latents."""

import pytest
import torch

from pyro_vaes.evaluate import posterior_covariance
from pyro_vaes.guides import InverseAutoregressiveFlow, Mixture
from tests.helpers.hierarchies import PAIRS
from tests.helpers.linear_gaussian import LinearGaussian, optimal_full_covariance, optimal_mean_field


@pytest.fixture
def linear():
    return LinearGaussian()


def test_of_the_exact_guide_is_that_of_the_posterior(linear):
    expected = linear.covariance.expand(5, 3, 3)
    for guide in (linear.exact_guide(), optimal_full_covariance(linear)):
        torch.testing.assert_close(posterior_covariance(guide, linear.x), expected, rtol=0, atol=1e-10)


def test_of_a_mean_field_guide_is_diagonal(linear):
    found = posterior_covariance(optimal_mean_field(linear), linear.x)
    expected = linear.mean_field_scale.square().diag().expand(5, 3, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("guide", [InverseAutoregressiveFlow, Mixture])
def test_without_a_closed_form_it_is_that_of_draws(linear, guide):
    made = guide(linear.vae, linear.encoder).double()
    torch.manual_seed(1)
    found = posterior_covariance(made, linear.x, num_samples=500)
    torch.manual_seed(1)
    draws = made.eval().posterior(linear.x).expand((500, 5)).sample()
    expected = torch.stack([draws[:, index].T.cov() for index in range(5)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "top-down"])
def test_several_latents_are_taken_together(name):
    _, guide, x, _ = PAIRS[name]()
    found = posterior_covariance(guide, x, num_samples=4000)
    assert found.shape == (len(x), 6, 6)
    if name == "mlp":  # independent given x
        scale = found.diagonal(dim1=1, dim2=2).sqrt()
        correlation = found / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
        assert (correlation * (1 - torch.eye(6))).abs().max() < 5 / 4000**0.5
        variances = torch.cat([q.variance for q in guide.eval().posteriors(x).values()], -1)
        torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), variances, rtol=5 * (2 / 4000) ** 0.5, atol=0)
