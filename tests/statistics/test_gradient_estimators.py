"""Gradient estimators: sticking the landing and the importance-weighted bound with its doubly reparameterized form."""

import math

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.losses import ELBO, IWAE
from tests.helpers.linear_gaussian import LinearGaussian, optimal_full_covariance

GUIDES = [pv.guides.MeanField, pv.guides.FullCovariance, pv.guides.Laplace, pv.guides.InverseAutoregressiveFlow]
PLAIN_AND_LOW_VARIANCE = [
    (lambda: ELBO(), lambda: ELBO(sticking_the_landing=True)),
    (lambda: IWAE(num_particles=3), lambda: IWAE(num_particles=3, dreg=True)),
]


def pair(guide):
    torch.manual_seed(0)
    vae = pv.VAE(pv.networks.MLPDecoder(2, (5,), (6,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(0.7))
    return vae.double(), guide(vae, pv.networks.MLPEncoder((5,), (6,))).double()


def gradient(loss, vae, guide, x, modules, seed):
    torch.manual_seed(seed)
    parameters = [p for module in modules for p in module.parameters()]
    grads = torch.autograd.grad(loss.differentiable_loss(vae, guide, x), parameters, allow_unused=True)
    return torch.cat([g.flatten() for g in grads if g is not None])


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize(("plain", "other"), PLAIN_AND_LOW_VARIANCE, ids=["landing", "dreg"])
def test_gradients_agree_on_average(guide, plain, other):
    """Of the guide: within 5 standard errors in every parameter, from 100 draws of each."""
    vae, guide = pair(guide)
    x = torch.randn(4, 5, dtype=torch.float64)
    draws = [
        torch.stack([gradient(loss(), vae, guide, x, [guide], seed) for seed in range(100)]) for loss in (plain, other)
    ]
    difference = draws[0].mean(0) - draws[1].mean(0)
    error = sum(each.var(0) / len(each) for each in draws).sqrt()
    assert (difference.abs() <= 5 * error + 1e-10).all()


@pytest.mark.parametrize("loss", [ELBO(sticking_the_landing=True), IWAE(num_particles=3, dreg=True)])
def test_no_noise_is_left_where_the_guide_is_the_posterior(loss):
    linear = LinearGaussian()
    guide = optimal_full_covariance(linear)
    grad = gradient(loss, linear.vae, guide, linear.x, [guide], seed=1)
    assert grad.abs().max() < 1e-7
    loud = gradient(IWAE(num_particles=3), linear.vae, guide, linear.x, [guide], seed=1)
    assert loud.abs().max() > 1e-2, "the test says nothing"


def test_values_are_those_of_the_plain_estimators():
    vae, guide = pair(pv.guides.MeanField)
    x = torch.randn(4, 5, dtype=torch.float64)

    def value(loss):
        torch.manual_seed(2)
        return loss.objective(vae, guide, x)[0]

    torch.testing.assert_close(value(IWAE(num_particles=3, dreg=True)), value(IWAE(num_particles=3)))
    torch.testing.assert_close(value(IWAE(num_particles=1)), value(ELBO(sticking_the_landing=True)))


def test_the_model_s_gradient_is_that_of_the_bound():
    vae, guide = pair(pv.guides.MeanField)
    x = torch.randn(4, 5, dtype=torch.float64)
    plain, other = (gradient(IWAE(num_particles=4, dreg=dreg), vae, guide, x, [vae], seed=3) for dreg in (False, True))
    torch.testing.assert_close(plain, other)


def test_the_bound_rises_with_the_draws_towards_the_evidence():
    linear = LinearGaussian()
    guide = linear.set_optimal(
        pv.guides.MeanField(linear.vae, linear.encoder), torch.zeros(linear.latent_dim, dtype=torch.float64)
    )
    with torch.no_grad():
        bounds = [
            torch.stack([IWAE(num_particles=n).objective(linear.vae, guide, linear.x)[0].mean() for _ in range(300)])
            for n in (1, 8, 64)
        ]
    means = [each.mean() for each in bounds]
    error = bounds[-1].std() / math.sqrt(300)
    assert means[0] < means[1] < means[2] < linear.log_evidence.mean() + 4 * error
