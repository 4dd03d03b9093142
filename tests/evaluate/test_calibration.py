"""Simulation-based calibration: exact on the linear-Gaussian model, whose posterior is known."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.calibration import CREDIBILITIES, Calibration, calibration
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Poisson
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive


class Skewed(nn.Module):
    """A guide whose draws are those of another, moved: the mean by ``shift`` standard deviations, their spread."""

    def __init__(self, linear, shift=0.0, spread=1.0):
        super().__init__()
        self.exact = linear.exact_guide()
        deviation = linear.covariance.diagonal().sqrt()
        self.shift = shift * deviation
        self.factor = spread * torch.linalg.cholesky(linear.covariance)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            mean = self.exact.posterior(x).mean + self.shift
            return pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=self.factor))


@pytest.fixture(scope="module")
def linear():
    with torch.random.fork_rng():
        return LinearGaussian()


def uniform_ranks(num_data, num_samples, dims=1):
    return torch.randint(num_samples + 1, (num_data, dims))


def accepted(linear, guide, seeds=100):
    return sum(calibration(linear.vae, guide, seed=seed).calibrated(0.01) for seed in range(seeds))


def test_the_exact_posterior_is_accepted(linear):
    assert accepted(linear, linear.exact_guide()) >= 95


def test_a_posterior_of_half_the_scale_is_rejected(linear):
    assert accepted(linear, Skewed(linear, spread=0.5)) <= 5


@pytest.mark.parametrize("error", [{"spread": 0.85}, {"spread": 1.2}, {"shift": 0.25}], ids=str)
def test_smaller_errors_of_spread_and_mean_are_rejected(linear, error):
    assert accepted(linear, Skewed(linear, **error), seeds=20) <= 1


def test_the_marginals_of_the_posterior_are_accepted_whatever_their_correlation(linear):
    guide = MeanField(linear.vae, linear.encoder)
    linear.set_optimal(guide, inverse_positive(linear.covariance.diagonal().sqrt()))
    assert calibration(linear.vae, guide).calibrated()
    linear.set_optimal(guide, inverse_positive(linear.mean_field_scale))  # of the best ELBO: too narrow
    assert not calibration(linear.vae, guide).calibrated()


@pytest.mark.parametrize("num_samples", [9, 50, 199])
def test_p_values_of_uniform_ranks_are_uniform(num_samples):
    p_values = Calibration(uniform_ranks(500, num_samples, 2000), num_samples).p_values
    assert stats.kstest(p_values.numpy(), "uniform").pvalue > 1e-3
    assert (p_values < 0.01).double().mean() < 0.01 + 4 * (0.01 * 0.99 / 2000) ** 0.5


def test_holm_on_an_example_of_the_textbook(monkeypatch):
    monkeypatch.setattr(Calibration, "p_values", torch.tensor([0.01, 0.04, 0.03, 0.005]).double())
    result = Calibration(uniform_ranks(100, 9, 4), 9)
    torch.testing.assert_close(result.adjusted, torch.tensor([0.03, 0.06, 0.06, 0.02]).double())
    assert result.calibrated(0.019)
    assert not result.calibrated(0.021)


@pytest.mark.parametrize("num_samples", [9, 50, 199])
def test_coverage_of_uniform_ranks_is_nominal(num_samples):
    every = Calibration(torch.arange(num_samples + 1).unsqueeze(-1), num_samples)
    assert every.mean_coverage == pytest.approx({credibility: credibility for credibility in CREDIBILITIES})


def test_coverage_of_a_narrow_guide_is_that_of_its_scale(linear):
    result = calibration(linear.vae, Skewed(linear, spread=0.5), num_datasets=2000, num_samples=999)
    for credibility in CREDIBILITIES:
        expected = 2 * stats.norm.cdf(0.5 * stats.norm.ppf((1 + credibility) / 2)) - 1
        assert (result.coverage[credibility] - expected).abs().max() < 4 * (
            expected * (1 - expected) / 2000
        ) ** 0.5 + 2e-3
        assert result.coverage_stderr[credibility] == pytest.approx((credibility * (1 - credibility) / 2000) ** 0.5)


def test_figures_repeat_with_the_seed_and_leave_the_generator_alone(linear):
    guide = Skewed(linear)
    before = torch.get_rng_state()
    first, again, other = (calibration(linear.vae, guide, num_datasets=600, seed=seed).ranks for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)
    assert torch.get_rng_state().equal(before)
    assert first.shape == (600, 3)  # of two chunks
    assert list(pyro.get_param_store()) == []


@pytest.mark.parametrize("likelihood", [Bernoulli(), Poisson(), DiscretizedLogistic(5, scale=0.3)], ids=str)
def test_every_likelihood_draws_its_own_data(likelihood):
    vae = VAE(MLPDecoder(2, (1, 3, 3), hidden=(4,)), GaussianMixture(2, components=3), likelihood)
    guide = MeanField(vae, MLPEncoder((1, 3, 3), hidden=(4,)))
    ranks = calibration(vae, guide, num_datasets=100, num_samples=20).ranks
    assert ranks.shape == (100, 2)
    assert ranks.min() >= 0
    assert ranks.max() <= 20


def test_a_users_own_functions_with_two_latents():
    pyro.param("scale", torch.tensor(2.0))

    def model(x):
        size = x.reshape(-1, 2).shape[0]  # asks for the shape of a datum
        with pyro.plate("data", size):
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            noise = pyro.param("scale") * torch.ones(2)
            pyro.sample("pixels", dist.Normal(torch.stack([a, b], -1), noise).to_event(1), obs=x)

    def guide(x, spread=0.8**0.5):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x[:, 0] / 5, spread))  # exact: precision 1 + 1 / 4
            pyro.sample("b", dist.Normal(x[:, 1] / 5, spread))

    assert calibration(model, guide, like=torch.zeros(1, 2)).calibrated()
    assert not calibration(model, lambda x: guide(x, 0.4**0.5), like=torch.zeros(1, 2)).calibrated()
    assert list(pyro.get_param_store()) == ["scale"]


def discrete(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(y, 1.0), obs=x)


def unobserved(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def without_plate(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def good(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def other_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("w", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (good, {"num_datasets": 20}, "num_datasets is 20: expected a whole number, 100 or more"),
        (good, {"num_samples": 1.5}, "num_samples is 1.5: expected a whole number, 9 or more"),
        (discrete, {}, "latent 'y' is discrete"),
        (unobserved, {}, r"observes \[\], expected exactly one"),
        (without_plate, {}, r"site 'z' has values of shape \(\), expected \(512,\) first"),
        (good, {}, r"latents and their sizes are {'z': 1}, but the guide samples {'w': 1}"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(model, options, words):
    with pytest.raises(InputError, match=words):
        calibration(model, other_guide, **options)


def test_a_guide_of_another_size_is_refused():
    vae, wide = (VAE(MLPDecoder(size, (4,), hidden=(3,)), StandardNormal(size), Bernoulli()) for size in (1, 2))
    with pytest.raises(InputError, match=r"{'z': 1}, but the guide samples {'z': 2}"):
        calibration(vae, MeanField(wide, MLPEncoder((4,), hidden=(3,))))
