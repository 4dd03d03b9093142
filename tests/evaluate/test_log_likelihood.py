"""Importance weights and log-likelihoods against closed forms, and their tails."""

import sys

import arviz
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import LogLikelihood, log_likelihood, log_weights, pareto_k
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive
from tests.helpers.statistics import standard_error

MODULE = sys.modules["pyro_vaes.evaluate.log_weights"]  # the package's attribute of that name is the function
WIDTH, DATA = 8, 5  # of the linear-Gaussian model's batch

# values that one pass may hold: how many samples and data that makes a pass, of 50 samples each of 5 data
CHUNKS = {"whole": (2**21, 1), "two data": (2 * 50 * WIDTH, 3), "20 samples": (20 * WIDTH, 15), "least": (1, 250)}
every_chunk = pytest.mark.parametrize(("values", "passes"), CHUNKS.values(), ids=CHUNKS)


@pytest.fixture
def linear():
    return LinearGaussian()


def exact(linear):
    return linear.exact_guide()


def mean_field(linear):
    """Independent normals with the marginal variances of the posterior."""
    scale = linear.covariance.diagonal().sqrt()
    return linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(scale))


@every_chunk
def test_weights_of_the_exact_posterior_are_the_evidence(linear, monkeypatch, values, passes):
    monkeypatch.setattr(MODULE, "CHUNK_VALUES", values)
    guide, calls = exact(linear), []
    posterior = guide.posterior
    monkeypatch.setattr(guide, "posterior", lambda x: calls.append(len(x)) or posterior(x))
    weights = log_weights(linear.vae, guide, linear.x, 50)
    assert weights.shape == (50, DATA)
    torch.testing.assert_close(weights, linear.log_evidence.expand_as(weights), rtol=0, atol=1e-8)
    assert len(calls) == passes
    assert list(pyro.get_param_store()) == []


@pytest.mark.parametrize("values", [2**21, 2 * 1000 * WIDTH, 300 * WIDTH], ids=["whole", "two data", "300 samples"])
def test_mean_field_estimate_is_within_its_error_of_the_evidence(linear, monkeypatch, values):
    monkeypatch.setattr(MODULE, "CHUNK_VALUES", values)
    guide = mean_field(linear)
    torch.manual_seed(1)
    weights = log_weights(linear.vae, guide, linear.x, 1000)
    torch.manual_seed(1)
    estimate = log_likelihood(linear.vae, guide, linear.x, 1000)
    errors = standard_error(weights)
    assert errors.max() < 0.1, "the test says nothing"
    assert ((estimate.per_datum - linear.log_evidence).abs() < 4 * errors).all()  # of 5 data, 4 times over
    assert abs(estimate.mean - linear.log_evidence.mean()) < 3 * errors.square().sum().sqrt() / DATA
    torch.testing.assert_close(estimate.elbo, weights.mean(0))
    assert (estimate.elbo < estimate.per_datum).all()
    assert estimate.gap == pytest.approx((estimate.per_datum - estimate.elbo).mean().item())
    assert estimate.pareto_k.shape == (DATA,)


def test_figures_of_an_estimate():
    values, khat = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0.1, 0.8, torch.inf, 0.7])
    estimate = LogLikelihood(values, values - 1, khat, 10)
    assert estimate.mean == 4
    assert estimate.stderr == pytest.approx((38 / 3) ** 0.5 / 2)  # squares 9 + 4 + 0 + 25, n - 1 = 3
    assert estimate.gap == 1
    assert estimate.unreliable == 0.5
    assert "10 samples for each of 4 observations" in estimate.describe()


def test_too_few_draws_are_not_called_reliable(linear):
    estimate = log_likelihood(linear.vae, mean_field(linear), linear.x, 24)
    assert estimate.pareto_k.isnan().all()
    assert estimate.unreliable != estimate.unreliable  # NaN: unknown, not 0 %
    assert not log_likelihood(linear.vae, mean_field(linear), linear.x, 50).pareto_k.isnan().any()


@pytest.mark.parametrize("k", [0.2, 0.9])
def test_pareto_k_finds_the_tail(k):
    weights = k * torch.empty(4000, 3).exponential_()  # w = exp(k E) is Pareto with shape 1 / k
    khat = pareto_k(weights)
    assert (khat - k).abs().max() < 4 * (1 + k) / 190**0.5  # standard errors of a fit to 190 tail draws
    if hasattr(arviz, "psislw"):  # its 0.x line
        theirs = [float(arviz.psislw(column.numpy())[1]) for column in weights.T]
        assert khat.tolist() == pytest.approx(theirs, rel=1e-4)


def test_a_users_own_functions_use_the_values_of_the_store():
    pyro.param("shift", torch.tensor(3.0))

    def model(x):
        shift = pyro.param("shift", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1) + shift, 1.0).to_event(1), obs=x)

    def guide(x):
        shift = pyro.param("shift", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x[:, 0] - shift) / 2, 0.5**0.5))  # exact

    x = torch.tensor([[1.0], [3.0], [7.0]])
    weights = log_weights(model, guide, x, 10)
    expected = dist.Normal(3.0, 2**0.5).log_prob(x[:, 0])
    torch.testing.assert_close(weights, expected.expand(10, 3), rtol=0, atol=1e-5)
    assert pyro.param("shift").item() == 3
    assert list(pyro.get_param_store()) == ["shift"]


@pytest.mark.parametrize(
    ("x", "samples", "words"),
    [
        (torch.ones(3, 4), 0, "num_samples is 0"),
        (torch.ones(0, 4), 5, "x holds no data"),
        (torch.full((3, 4), 0.5), 5, "Bernoulli needs binary data, but x holds 0.5"),
        (torch.ones(3, 4, dtype=torch.uint8), 5, "x is uint8"),
    ],
    ids=["no samples", "no data", "gray", "uint8"],
)
@pytest.mark.parametrize("estimate", [log_weights, log_likelihood])
def test_what_cannot_be_evaluated_is_refused(estimate, x, samples, words):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    with pytest.raises(InputError, match=words):
        estimate(vae, MeanField(vae, MLPEncoder((4,), hidden=(3,))), x, samples)
