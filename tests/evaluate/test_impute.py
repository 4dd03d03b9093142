"""Imputation of linear-Gaussian models against their conditional distribution, and what is refused."""

import numpy as np
import pytest
import torch

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import impute
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import PixelCNN
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, optimal_mean_field

S = 1000


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return LinearGaussian(batch=3)


@pytest.fixture(scope="module")
def mask(linear):
    return torch.rand(linear.x.shape) < 0.5


def conditional(linear, mask, n):
    """Mean and covariance of the hidden pixels of a datum, given those seen."""
    covariance = linear.weight @ linear.weight.T + linear.scale**2 * torch.eye(len(linear.bias)).double()
    seen = mask[n].flatten()
    gain = covariance[~seen][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = linear.bias[~seen] + gain @ (linear.x[n].flatten() - linear.bias)[seen]
    return mean, covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]


@pytest.mark.parametrize("method", ["importance", "gibbs"])
@pytest.mark.parametrize("guide", [LinearGaussian.exact_guide, optimal_mean_field], ids=["exact", "mean-field"])
def test_draws_have_the_conditional_mean_and_covariance(linear, mask, method, guide):
    found = impute(linear.vae, guide(linear), linear.x, mask, S, method=method, num_draws=4000, num_steps=150, seed=1)
    assert found.unreliable < 1 or method == "gibbs"
    assert torch.equal(found.draws[:, mask], linear.x[mask].expand(S, -1))
    assert torch.equal(found.mean[mask], linear.x[mask])
    for n in range(len(linear.x)):
        mean, covariance = conditional(linear, mask, n)
        draws = found.draws[:, n][:, ~mask[n]]
        per_draw = 1 / S + 1 / found.effective_samples[n]  # imputations and, at most, the z behind them
        error = (draws.mean(0) - mean) / (covariance.diagonal() * per_draw).sqrt()
        assert error.abs().max() < 3
        square = covariance.diagonal().outer(covariance.diagonal()) + covariance.square()
        assert ((draws.T.cov() - covariance) / (square * per_draw).sqrt()).abs().max() < 3
        assert (found.mean[n][~mask[n]] - mean).abs().max() < 0.1 * covariance.diagonal().max().sqrt()


def test_proposals_from_the_posterior_of_completed_data_are_all_accepted(linear, mask):
    found = impute(linear.vae, linear.exact_guide(), linear.x, mask, 4, method="gibbs", num_steps=40)
    torch.testing.assert_close(found.acceptance, torch.ones(3).double(), atol=1e-6, rtol=0)
    assert (
        impute(linear.vae, optimal_mean_field(linear), linear.x, mask, 4, method="gibbs", num_steps=40).acceptance.max()
        < 0.99
    )


def test_the_diagnostics_are_those_of_the_method(linear, mask):
    weighted = impute(linear.vae, None, linear.x, mask, 3)
    assert weighted.unreliable == 0
    assert (weighted.effective_samples > 300).all()
    assert weighted.acceptance.isnan().all()
    assert weighted.describe() == "3 imputations of 3 data by importance resampling"
    chains = impute(linear.vae, linear.exact_guide(), linear.x, mask, 4, method="gibbs", num_steps=2000)
    assert chains.pareto_k.isnan().all()
    assert (chains.r_hat < 1.05).all()
    assert (chains.effective_samples > 100).all()
    assert chains.describe() == "4 imputations of 3 data by Metropolis within Gibbs"


def test_the_seed_fixes_all_draws_and_the_random_state_stays(linear, mask):
    state = torch.get_rng_state()
    first, again, other = (impute(linear.vae, None, linear.x, mask, 3, seed=seed).draws for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_hidden_does_not_matter(linear, mask):
    other = torch.where(mask, linear.x, torch.nan)
    masked = np.ma.array(linear.x.numpy(), mask=~mask.numpy())
    results = [impute(linear.vae, None, *given, num_samples=2).draws for given in ((linear.x, mask), (other, mask))]
    results.append(impute(linear.vae, None, masked, num_samples=2).draws)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "mice"}, "unknown method of imputation 'mice'.*gibbs, importance"),
        ({"guide": None, "method": "gibbs"}, 'method is "gibbs", whose proposals are those of a guide'),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_draws": 9}, "num_draws is 9"),
        ({"num_steps": 2}, "num_steps is 2"),
        ({"model": lambda x: x}, "the model is a function: give one of the library's"),
        ({"mask": torch.ones(3, 4, dtype=torch.bool)}, r"the mask has shape \(3, 4\), but x has \(3, 1, 2, 4\)"),
        ({"mask": torch.ones(3, 1, 2, 4)}, "the mask of x is of float32: give a boolean for each value"),
        ({"mask": torch.zeros(3, 1, 2, 4, dtype=torch.bool)}, "all values of x are missing"),
    ],
)
def test_bad_input_is_named(linear, mask, options, words):
    given = {"model": linear.vae, "guide": linear.exact_guide(), "x": linear.x, "mask": mask, **options}
    with pytest.raises(InputError, match=words):
        impute(**given)


def test_autoregressive_likelihoods_are_refused():
    likelihood = PixelCNN((1, 4, 4), 2, layers=2, channels=4)
    vae = VAE(MLPDecoder(2, likelihood.features_shape, hidden=(8,)), StandardNormal(2), likelihood)
    guide, x = MeanField(vae, MLPEncoder((1, 4, 4), hidden=(8,))), torch.ones(2, 1, 4, 4)
    for method in ("importance", "gibbs"):
        with pytest.raises(InputError, match=r"PixelCNN gives no density of a part of x.* take a likelihood of indep"):
            impute(vae, guide, x, torch.rand(x.shape) < 0.5, method=method)
