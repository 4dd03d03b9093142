"""Export to arviz, whichever of its lines is installed: contents against closed forms, and arviz's own functions."""

import sys

import arviz
import matplotlib as mpl
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray
from matplotlib import pyplot as plt

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.arviz_export import smoothed_weights, to_arviz
from pyro_vaes.guides import MeanField
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

MODULE = sys.modules["pyro_vaes.evaluate.arviz_export"]
FIRST_LINE = arviz.__version__.startswith("0.")
DATA, DRAWS = 5, 400


@pytest.fixture
def linear():
    return LinearGaussian()


def exact(linear):
    return linear.exact_guide()


def wide(linear):
    """Independent normals with the marginal variances of the posterior, so that the weights differ."""
    scale = linear.covariance.diagonal().sqrt()
    return linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(scale))


def values(data, group, name):
    return torch.from_numpy(np.array(data[group][name].values))


@pytest.mark.parametrize("chunk", [2**21, 2 * DRAWS * 8, 70 * 8], ids=["whole", "two data", "70 samples"])
def test_densities_are_those_of_the_draws(linear, monkeypatch, chunk):
    monkeypatch.setattr(MODULE, "CHUNK_VALUES", chunk)
    guide = wide(linear)
    data = to_arviz(linear.vae, guide, linear.x, DRAWS)
    z = values(data, "posterior", "z")
    assert z.shape == (4, DRAWS // 4, DATA, 3)
    assert z.flatten(0, 1).unique(dim=0).shape[0] == DRAWS
    with torch.no_grad():
        joint, log_q = linear.vae.log_joint(linear.x, z), guide.posterior(linear.x).log_prob(z)
        prior = linear.vae.prior().log_prob(z)
    torch.testing.assert_close(values(data, "sample_stats", "lp"), joint)
    torch.testing.assert_close(values(data, "sample_stats", "log_q"), log_q)
    torch.testing.assert_close(values(data, "log_likelihood", "x"), joint - prior)
    smoothed, khat = smoothed_weights((joint - log_q).flatten(0, 1))
    torch.testing.assert_close(values(data, "psis", "log_weight").flatten(0, 1), smoothed)
    torch.testing.assert_close(values(data, "psis", "pareto_k"), khat)
    assert list(pyro.get_param_store()) == []


def test_the_container_is_that_of_the_line(linear):
    data = to_arviz(linear.vae, exact(linear), linear.x, 100)
    assert isinstance(data, arviz.InferenceData if FIRST_LINE else xarray.DataTree)
    assert data.posterior["z"].dims == ("chain", "draw", "datum", "z_dim_0")
    assert data.psis["pareto_k"].dims == ("datum",)


def test_weights_of_the_exact_posterior_are_equal(linear):
    data = to_arviz(linear.vae, exact(linear), linear.x, 100)
    weights = values(data, "psis", "log_weight").exp()
    torch.testing.assert_close(weights, torch.full_like(weights, 0.01))


@pytest.mark.parametrize("k", [0.2, 0.9])
def test_smoothing_keeps_order_and_finds_the_tail(k):
    log_weights = k * torch.empty(4000, 3).exponential_()  # w = exp(k E) is Pareto with shape 1 / k
    smoothed, khat = smoothed_weights(log_weights)
    assert (khat - k).abs().max() < 3 * (1 + k) / 190**0.5  # standard errors, of 190 draws in the tail
    torch.testing.assert_close(smoothed.logsumexp(0), torch.zeros(3).double())
    order = log_weights.argsort(0)
    assert (smoothed.take_along_dim(order, 0).diff(dim=0) >= -1e-12).all()
    body = order[:3500]
    torch.testing.assert_close(
        smoothed.take_along_dim(body, 0).diff(dim=0), log_weights.double().take_along_dim(body, 0).diff(dim=0)
    )


def test_a_tail_of_equal_weights_is_left_alone():
    log_weights = torch.zeros(100, 2)
    log_weights[:50, 0] = -3  # the larger half is equal, as discrete latents make it
    smoothed, khat = smoothed_weights(log_weights)
    torch.testing.assert_close(smoothed, log_weights.double().log_softmax(0))
    assert khat.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tail_of_weights_that_are_equal_but_for_rounding_is_left_alone(dtype):
    log_weights = torch.full((100, 200), -30, dtype=dtype)
    log_weights += torch.finfo(dtype).eps * 30 * torch.randn(100, 200, dtype=dtype)
    smoothed, khat = smoothed_weights(log_weights)
    torch.testing.assert_close(smoothed, log_weights.double().log_softmax(0))
    assert not khat.any()


def test_resampled_draws_are_the_posteriors(linear):
    draws = 20000
    weights = values(to_arviz(linear.vae, wide(linear), linear.x, draws), "psis", "log_weight").exp()
    data = to_arviz(linear.vae, wide(linear), linear.x, draws, num_chains=2, resample=True)
    white = (values(data, "posterior", "z").flatten(0, 1) - linear.mean) / linear.covariance.diagonal().sqrt()
    correlation = torch.einsum("sni,snj->nij", white, white) / draws
    scales = linear.covariance.diagonal().sqrt()
    expected = linear.covariance / torch.outer(scales, scales)
    assert expected.tril(-1).abs().max() > 0.2, "the test says nothing: the guide's draws have no correlation"
    error = (2 * (weights.square().sum((0, 1)) + 1 / draws)).sqrt()  # of a square's mean, weighting and drawing anew
    assert error.max() < 0.05, "the test says nothing"
    assert ((correlation - expected).abs().amax((1, 2)) < 4 * error).all()
    with torch.no_grad():
        joint = linear.vae.log_joint(linear.x, values(data, "posterior", "z"))  # it has moved with its draw
    torch.testing.assert_close(values(data, "sample_stats", "lp"), joint)
    assert values(data, "psis", "log_weight").unique().exp().tolist() == pytest.approx([1 / draws])


def test_several_sites_of_a_users_own_pair():
    x = torch.randn(6, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z.sum(-1) + y.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(x):
        logits = pyro.param("logits", torch.zeros(3))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=logits))
            pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))

    data = to_arviz(model, guide, x, 100, num_chains=1)
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 100, "datum": 6, "z_dim_0": 2, "z_dim_1": 3}
    difference = values(data, "sample_stats", "lp") - values(data, "log_likelihood", "x")
    torch.testing.assert_close(difference, values(data, "sample_stats", "log_q"))  # the guide is the prior
    resampled = to_arviz(model, guide, x, 100, resample=True)
    assert resampled.posterior["y"].shape == (4, 25, 6)
    assert list(pyro.get_param_store()) == []


@pytest.fixture
def agg():
    with mpl.rc_context({"backend": "Agg", "figure.max_open_warning": 0}):
        yield
        plt.close("all")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("resample", [False, True])
def test_arviz_works_on_it(linear, agg, resample):
    data = to_arviz(linear.vae, wide(linear), linear.x, DRAWS, resample=resample)
    small = {"var_names": ["z"], "coords": {"datum": [0, 1]}}
    arviz.plot_forest(data, **small)
    arviz.plot_rank(data, **small)
    rhat = arviz.rhat(data)
    rhat = rhat["z"] if FIRST_LINE else rhat.posterior["z"] if "posterior" in rhat else rhat["z"]
    assert float(rhat.max()) < 1.1  # chains are independent draws of one distribution
    assert len(arviz.summary(data, var_names=["z"])) == DATA * 3
    result = arviz.loo(data, pointwise=True)
    assert result.n_data_points == DATA
    assert result.pareto_k.shape == (DATA,)


@pytest.mark.skipif(not FIRST_LINE, reason="the 1.x line has no psislw on its top level")
def test_smoothed_weights_are_arvizs(linear):
    log_weights = torch.randn(DRAWS, DATA).double()
    expected, khat = arviz.psislw(log_weights.T.numpy())
    smoothed = smoothed_weights(log_weights)
    torch.testing.assert_close(smoothed[0], torch.from_numpy(expected).T)
    torch.testing.assert_close(smoothed[1], torch.from_numpy(np.asarray(khat)))


@pytest.mark.parametrize(
    ("data", "samples", "chains", "words"),
    [
        (5, 24, 4, "24 samples in 4 chains: expected at least 25"),
        (5, 101, 4, "101 samples in 4 chains"),
        (5, 100, 0, "in 0 chains"),
        (0, 100, 4, "x holds no data"),
    ],
)
def test_what_cannot_be_exported_is_refused(linear, data, samples, chains, words):
    with pytest.raises(InputError, match=words):
        to_arviz(linear.vae, exact(linear), linear.x[:data], samples, chains)
