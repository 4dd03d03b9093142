"""The negative binomial likelihood: exact sums over counts, the Poisson limit, precision, and what is refused."""

import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import nbinom

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import NegativeBinomial, Poisson
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.likelihoods import assert_exact

FEATURES = torch.linspace(-3, 3, 7).double().unsqueeze(-1)
COUNTS = torch.arange(6000).double().unsqueeze(-1)


def exact(dispersion):
    """The likelihood in float64, with a dispersion that float32 does not round."""
    likelihood = NegativeBinomial().double()
    torch.nn.init.constant_(likelihood.log_dispersion, math.log(dispersion))
    return likelihood


@pytest.mark.parametrize("dispersion", [1e-6, 0.05, 0.7, 5.0])
def test_moments_are_exact(dispersion):
    assert_exact(exact(dispersion), FEATURES, COUNTS)


@pytest.mark.parametrize("dispersion", [1e-6, 0.06, 1 / 16, 0.065, 0.7, 30.0])
def test_density_equals_scipy_s(dispersion):
    x, mean = COUNTS[:900:7], FEATURES.exp()
    ours = exact(dispersion)(FEATURES).log_prob(x[:, None])
    r = 1 / dispersion
    if dispersion < 1e-3:  # where SciPy's loses digits to cancellation, the Poisson density and its first correction
        correction = dispersion * ((x - mean.T).square() - x) / 2
        expected = Poisson()(FEATURES).log_prob(x[:, None]) + correction
        ours, expected = ours[:9], expected[:9]  # where the next correction is small
        torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-7)
        return
    expected = torch.from_numpy(nbinom.logpmf(x.numpy(), r, (r / (r + mean.T)).numpy()))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_it_tends_to_poisson_at_the_known_rate():
    x, f = COUNTS[:40, None], FEATURES
    poisson, mean = Poisson()(f).log_prob(x), f.exp().T
    for dispersion in (1e-4, 1e-5, 1e-6):
        slope = (exact(dispersion)(f).log_prob(x) - poisson) / dispersion
        expected = ((x[:, 0] - mean).square() - x[:, 0]) / 2
        torch.testing.assert_close(slope, expected, rtol=0, atol=4e5 * dispersion)  # third moments of 40 and e³
    small = exact(1e-30)
    torch.testing.assert_close(small(f).log_prob(x), poisson, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(small.fisher(f), Poisson().fisher(f), rtol=1e-5, atol=0)
    torch.testing.assert_close(small.score(f, x), Poisson().score(f, x), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dispersion", [1e-7, 1e-5, 1e-3, 0.1])
def test_float32_keeps_its_digits(dispersion):
    x, f = COUNTS[:700], FEATURES.T
    double = exact(dispersion)(f).base_dist.log_prob(x)
    single = NegativeBinomial(dispersion=dispersion)(f.float()).base_dist.log_prob(x.float())
    torch.testing.assert_close(single.double(), double, rtol=3e-6, atol=2e-6)


def test_draws_of_large_and_tiny_dispersion():
    for dispersion in (1e-12, 3.0):
        draws = NegativeBinomial(dispersion=dispersion)(torch.full((20_000, 1), 1.0)).sample()
        variance = math.e + dispersion * math.e**2
        assert abs(draws.mean() - math.e) < 5 * (variance / 20_000) ** 0.5


def test_extreme_features_stay_finite():
    likelihood, f = NegativeBinomial(dispersion=0.5), torch.tensor([[-80.0], [80.0]], requires_grad=True)
    assert likelihood.fisher(f).isfinite().all()
    likelihood(f).log_prob(torch.ones(2, 1)).sum().backward()
    assert f.grad.isfinite().all()
    assert likelihood.log_dispersion.grad.isfinite()


def test_recipes_take_a_dispersion_for_each_feature():
    assert NegativeBinomial.build((4,)).log_dispersion.shape == (4,)
    assert NegativeBinomial.build((4,), shape=()).log_dispersion.shape == ()
    with pytest.raises(
        InputError, match=r"has dispersions of shape \(3,\), .*give the dispersion the shape of one dat"
    ):
        VAE(MLPDecoder(2, (4,)), StandardNormal(2), NegativeBinomial(shape=(3,)))


@pytest.mark.parametrize("dispersion", [0.0, -1.0, math.inf, math.nan])
def test_dispersions_that_are_refused(dispersion):
    with pytest.raises(InputError, match=r"dispersion is .*: expected a positive number"):
        NegativeBinomial(dispersion=dispersion)


def test_encoders_take_logarithms():
    x = torch.tensor([[0.0, 627.0]])
    assert torch.equal(NegativeBinomial().encoder_input(x), x.log1p())


def test_it_is_pyro_s_in_another_parametrization():
    f, alpha = FEATURES, 0.4
    pyros = dist.NegativeBinomial(1 / alpha, logits=f + math.log(alpha))
    x = COUNTS[:30, None]
    ours = exact(alpha)(f).base_dist.log_prob(x)
    torch.testing.assert_close(ours, pyros.log_prob(x))
