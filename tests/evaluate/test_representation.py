"""Mutual information against closed forms and integration, and the probes' protocol."""

import json
import math
import sys
from dataclasses import asdict

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.mutual_information import mutual_information
from pyro_vaes.evaluate.representation import representation
from pyro_vaes.guides import InverseAutoregressiveFlow, Laplace, MeanField, Mixture
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

MODULE = sys.modules["pyro_vaes.evaluate.mutual_information"]  # the package may hold the function by that name


class Identity(nn.Module):
    """The encoder whose features are the pixels."""

    def __init__(self, size):
        super().__init__()
        self.out_features = size

    def forward(self, x):
        return x


def pair(latent_dim, scale):
    """A model of vectors, and the guide N(x, σ²) on them, in float64."""
    vae = VAE(MLPDecoder(latent_dim, (latent_dim,), hidden=(3,)), StandardNormal(latent_dim), Gaussian()).double()
    guide = MeanField(vae, Identity(latent_dim)).double()
    with torch.no_grad():
        guide.head.weight.copy_(torch.cat([torch.eye(latent_dim), torch.zeros(latent_dim, latent_dim)]))
        guide.head.bias[:latent_dim] = 0
        guide.head.bias[latent_dim:] = inverse_positive(torch.tensor(scale).double())
    return vae, guide


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
    guide = Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double()
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
    [(torch.ones(1, 4), "at least 2 data, but x holds 1"), (torch.full((3, 4), 0.5), "Bernoulli needs binary")],
)
def test_information_of_too_little_is_refused(x, words):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    with pytest.raises(InputError, match=words):
        mutual_information(vae, MeanField(vae, MLPEncoder((4,), hidden=(3,))), x)


def classes(count, num_classes=4, seed=0):
    """Points near the corners of a square, with their corner and whether it is left."""
    y = torch.arange(count) % num_classes
    corners = 3.0 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    x = corners[y] / 4 + 0.03 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return (x.clamp(0, 1).float()), torch.stack([y, y % 2], 1)


def separable(train=1200, test=200):
    (x_train, y_train), (x_test, y_test) = classes(train), classes(test, seed=1)
    parts = {"x_train": x_train, "y_train": y_train, "x_valid": x_test, "y_valid": y_test}
    return Data.from_arrays(**parts, x_test=x_test, y_test=y_test)


def accuracies(result, probe):
    return {(row["setting"], row["labels"]): row["accuracy"] for row in result.rows if row["probe"] == probe}


@pytest.mark.parametrize("column", [0, 1])
def test_codes_that_hold_the_labels_classify_them(column):
    data = separable()
    result = representation(*pair(2, 0.05), data, column=column)
    assert set(accuracies(result, "k-means")) == {(f"{k} clusters", 1200) for k in (10, 20, 30)}
    for probe in ("nearest neighbours", "linear"):
        assert [labels for _, labels in accuracies(result, probe)] == [100, 1000, 1200]
    assert all(probe.accuracy > 0.98 for probe in result.probes)
    assert [probe.stderr is None for probe in result.probes if probe.probe == "linear"] == [False, False, True]
    assert result.active_units == 2
    assert result.mutual_information.limit == math.log(200)
    assert json.loads(json.dumps(asdict(result)))["probes"] == result.rows


def test_collapsed_codes_are_chance():
    vae, guide = pair(2, 1.0)
    with torch.no_grad():
        guide.head.weight.zero_()
    result = representation(vae, guide, separable())
    assert all(probe.accuracy == 0.25 for probe in result.probes)  # 4 classes of equal size, one of them predicted
    assert result.active_units == 0
    assert result.mutual_information.value == pytest.approx(0, abs=1e-9)


def test_a_seed_fixes_all_and_leaves_the_generators_alone():
    vae, _ = pair(2, 1.0)
    guide = InverseAutoregressiveFlow(vae, Identity(2)).double()  # its codes are means of draws
    state = torch.get_rng_state()
    first, second = (representation(vae, guide, separable(300), seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_dynamically_binarised_images_are_thresholded():
    """The codes of grey images are those of the images thresholded at a half, without noise."""
    x = torch.tensor([[0.45, 0.45], [0.55, 0.45], [0.45, 0.55], [0.55, 0.55]])
    y = torch.arange(4)
    data = {"x_train": x.repeat(50, 1), "y_train": y.repeat(50), "x_test": x, "y_test": y}
    data |= {"x_valid": x, "y_valid": y}
    vae = VAE(MLPDecoder(2, (2,), hidden=(3,)), StandardNormal(2), Bernoulli()).double()
    guide = pair(2, 0.1)[1]
    guide.__dict__["vae"] = vae
    result = representation(vae, guide, Data.from_arrays(**data, binarize="dynamic"))
    assert accuracies(result, "linear")["logistic regression", 200] == 1


def test_unlabelled_data_are_refused():
    x, y = classes(50)
    with pytest.raises(InputError, match="train split has no labels, which the probes need: give y_train"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x))
    with pytest.raises(InputError, match="test split has no labels"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=y, x_test=x))
    with pytest.raises(InputError, match="column is 2: expected 0 to 1"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=y), column=2)
    with pytest.raises(InputError, match="all training data have the label 7"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=torch.full((50,), 7)))


def test_a_guide_without_a_posterior_is_refused():
    vae, _ = pair(2, 1.0)
    with pytest.raises(InputError, match="function has no posterior"):
        representation(vae, lambda x: None, separable(60))
