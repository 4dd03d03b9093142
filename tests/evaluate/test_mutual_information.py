"""Mutual information of data and codes, against closed forms and integration."""

import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.mutual_information import mutual_information
from pyro_vaes.guides import InverseAutoregressiveFlow, MeanField, Mixture
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian
from tests.helpers.vectors import pair

MODULE = sys.modules["pyro_vaes.evaluate.mutual_information"]  # the package may hold the function by that name


@pytest.mark.parametrize("values", [2**21, 100], ids=["whole", "a datum a pass"])
def test_separate_posteriors_tell_which_datum_it_was(monkeypatch, values):
    monkeypatch.setattr(MODULE, "CHUNK_VALUES", values)
    vae, guide = pair(2, 0.1)
    x = 100 * torch.arange(60).double().view(30, 2)
    information = mutual_information(vae, guide, x)
    assert information.value == pytest.approx(math.log(30), abs=1e-12)
    assert information.limit == math.log(30)
    assert information.stderr == pytest.approx(0, abs=1e-9)


def test_equal_posteriors_tell_nothing():
    vae, guide = pair(2, 1.0)
    information = mutual_information(vae, guide, torch.zeros(500, 2).double())
    assert information.value == pytest.approx(0, abs=1e-12)
    assert information.kl == pytest.approx(0, abs=1e-9)  # each is the prior
    assert information.marginal_kl == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_of_overlapping_posteriors_it_is_the_integral(scale):
    vae, guide = pair(1, scale)
    points = torch.linspace(-2, 2, 8).double()
    grid = torch.linspace(-15, 15, 30001).double()
    log_q = dist.Normal(points, torch.tensor(scale).double()).log_prob(grid[:, None]).logsumexp(1) - math.log(8)
    log_p = dist.Normal(0.0, 1.0).log_prob(grid)
    entropy = -torch.trapezoid(log_q.exp() * log_q, grid)
    exact = entropy - 0.5 * math.log(2 * math.pi * math.e * scale**2)
    marginal_kl = torch.trapezoid(log_q.exp() * (log_q - log_p), grid)
    information = mutual_information(vae, guide, points.repeat(500)[:, None])  # 500 draws of each point
    assert information.stderr < 0.03, "the test says nothing"
    assert abs(information.value - exact) < 3 * information.stderr
    assert abs(information.marginal_kl - marginal_kl) < 0.1
    assert information.kl == pytest.approx(information.value + information.marginal_kl)


def test_of_the_exact_posterior_it_is_the_channels():
    linear = LinearGaussian(scale=1.5)
    guide = linear.exact_guide()
    information = mutual_information(linear.vae, guide, linear.vae.sample(2000))
    exact = 0.5 * torch.logdet(linear.precision)  # I(x; z) of the joint, as precision is I + Wᵀ W / σ²
    assert 1 < exact < information.limit - 3, "the test says nothing"
    assert abs(information.value - exact) < 3 * information.stderr + exact.exp() / 2000
    assert abs(information.marginal_kl) < 0.1  # the aggregate posterior is the prior
    assert list(pyro.get_param_store()) == []


@pytest.mark.parametrize("family", [Mixture, InverseAutoregressiveFlow])
def test_any_family_has_it_within_its_bounds(family):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Gaussian())
    guide = family(vae, MLPEncoder((4,), hidden=(8,)))
    information = mutual_information(vae, guide, torch.randn(50, 4))
    assert -4 * information.stderr < information.value < math.log(50)


def test_a_users_own_pair_of_two_levels():
    x = torch.randn(200, 1).double()

    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", dist.Normal(x.new_zeros(()), 1.0))
            low = pyro.sample("z1", dist.Normal(top.unsqueeze(-1).expand(*top.shape, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(low.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(0.5).double())
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", dist.Normal(x[:, 0], scale))
            pyro.sample("z1", dist.Normal(top.unsqueeze(-1).expand(*top.shape, 2), 2.0).to_event(1))

    information = mutual_information(model, guide, x)  # z1 tells nothing that z2 does not
    expected = 0.5 * math.log(1 + x.var().item() / 0.25)
    assert abs(information.value - expected) < 3 * information.stderr + 0.1  # x is a sample of a normal, not one
    assert list(pyro.get_param_store()) == []


@pytest.mark.parametrize(
    ("x", "words"),
    [(torch.ones(1, 4), "at least 2 observations, but x holds 1"), (torch.full((3, 4), 0.5), "Bernoulli needs binary")],
)
def test_information_of_too_little_is_refused(x, words):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    with pytest.raises(InputError, match=words):
        mutual_information(vae, MeanField(vae, MLPEncoder((4,), hidden=(3,))), x)
