"""Guides with the best parameters for the linear-Gaussian model have the gaps of its closed forms."""

import pytest
import torch

from pyro_vaes.losses import ELBO
from tests.helpers.linear_gaussian import LinearGaussian, optimal_full_covariance, optimal_mean_field


# Pyro says so of a scale that is not learnt, which is the point of it here
@pytest.fixture
def linear():
    return LinearGaussian()


def test_full_covariance_with_exact_parameters_has_no_gap(linear):
    guide = optimal_full_covariance(linear)
    guide.analytic_kl = False  # so that the noise cancels
    terms = ELBO().terms(linear.vae, guide, linear.x)
    torch.testing.assert_close(terms["reconstruction"] - terms["kl"], linear.log_evidence, rtol=0, atol=1e-8)


def test_mean_field_has_the_closed_form_gap(linear):
    posterior = optimal_mean_field(linear).posterior(linear.x)
    # log p(x, z) - log q(z | x) is quadratic in z, for which these 2 Z points give the exact expectation
    shifts = linear.latent_dim**0.5 * torch.diag(linear.mean_field_scale)
    z = posterior.mean + torch.cat([shifts, -shifts]).unsqueeze(1)
    elbo = (linear.vae.log_joint(linear.x, z) - posterior.log_prob(z)).mean(0)
    gap = linear.log_evidence - elbo
    assert linear.mean_field_gap > 0.1
    torch.testing.assert_close(gap, linear.mean_field_gap.expand_as(gap), rtol=0, atol=1e-8)


def test_mean_field_gap_through_the_loss(linear):
    guide, draws = optimal_mean_field(linear), 4000
    x = linear.x.repeat(draws, 1, 1, 1)
    terms = ELBO().terms(linear.vae, guide, x)
    elbo = (terms["reconstruction"] - terms["kl"]).view(draws, -1)
    error = (linear.log_evidence - elbo.mean(0) - linear.mean_field_gap).abs()
    standard_error = elbo.std(0) / draws**0.5
    assert (error < 5 * standard_error).all()
