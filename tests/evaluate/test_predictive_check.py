"""Predictive checks: replications that are known exactly, their expectations in closed form, and what is refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import predictive_check
from pyro_vaes.evaluate.predictive_check import STATISTICS
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Poisson
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian


def of_log_rates(*log_rates):
    """Counts whose rates do not depend on the latent, and a guide."""
    decoder = MLPDecoder(2, (len(log_rates),), hidden=())
    nn.init.zeros_(decoder[0].weight)
    decoder[0].bias.data = torch.tensor(log_rates)
    model = VAE(decoder, StandardNormal(2), Poisson())
    return model, MeanField(model, MLPEncoder((len(log_rates),), hidden=(4,)))


def test_replications_without_noise_are_exact():
    model, guide = of_log_rates(-80.0, -80.0, 12.0)
    x = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 5.0]])
    check = predictive_check(model, x, guide, num_replications=7)
    assert torch.equal(check.observed["zeros"], torch.tensor([1.0, 0.5, 0.0]))
    assert torch.equal(check.observed["variance"], torch.tensor([0.0, 0.5, 2.0]))
    assert torch.equal(check.replicated["zeros"], torch.tensor([1.0, 1.0, 0.0]).expand(7, 3))
    assert torch.equal(check.p_values["zeros"], torch.tensor([0.5, 1.0, 0.5]).double())
    assert torch.equal(check.p_values["mean"], torch.tensor([0.5, 0.0, 1.0]).double())
    assert check.means["zeros"].tolist() == [1.0, 1.0, 0.0]


def test_of_the_exact_posterior_they_have_the_closed_form():
    """x_rep = W z + b + noise has the mean W E[z | x] + b and the covariance W Σ Wᵀ + σ² for each observation."""
    linear, replications = LinearGaussian(batch=600), 200
    statistics = {**STATISTICS, "product": lambda x: (x[:, 0, 0, 0] * x[:, 0, 0, 1]).mean()}
    check = predictive_check(linear.vae, linear.x, linear.exact_guide(), statistics, replications)
    means = linear.mean @ linear.weight.T + linear.bias
    covariance = linear.weight @ linear.covariance @ linear.weight.T + linear.scale**2 * torch.eye(8).double()
    expected = {
        "mean": means.mean(0),
        "variance": means.var(0) + covariance.diagonal(),
        "product": (means[:, 0] * means[:, 1]).mean() + covariance[0, 1],
    }
    for name, value in expected.items():
        draws = check.replicated[name].flatten(1) if name != "product" else check.replicated[name]
        error = (draws.mean(0) - value).abs()
        assert (error < 5 * draws.std(0) / replications**0.5).all(), name
        assert check.observed[name].flatten().shape == value.flatten().shape


def test_without_a_guide_they_are_draws_of_the_model():
    linear, replications = LinearGaussian(batch=600), 200
    check = predictive_check(linear.vae, linear.x, num_replications=replications)
    draws = check.replicated["variance"].flatten(1)
    expected = linear.weight.square().sum(1) + linear.scale**2
    assert ((draws.mean(0) - expected).abs() < 5 * draws.std(0) / replications**0.5).all()


def test_the_seed_fixes_them_and_random_state_is_kept():
    model, guide = of_log_rates(0.0, 1.0)
    x = model.sample(5)
    before = torch.get_rng_state()
    first, second, other = (predictive_check(model, x, guide, num_replications=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.replicated["mean"], second.replicated["mean"])
    assert not torch.equal(first.replicated["mean"], other.replicated["mean"])


def test_hierarchies_and_models_of_ones_own():
    conditional = ConditionalNormal(MLPEncoder((3,), hidden=(4,)), size=2)
    model = HierarchicalVAE(MLPDecoder(2, (5,), hidden=(4,)), StandardNormal(3), [conditional], Poisson())
    guide = HierarchicalGuide(model, [MLPEncoder((5,), hidden=(4,)), MLPEncoder((2,), hidden=(4,))])
    assert predictive_check(model, model.sample(4), guide, num_replications=2).replicated["zeros"].shape == (2, 5)

    def own(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def unobserved(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    assert predictive_check(own, torch.randn(4), num_replications=2).observed["mean"].shape == ()
    with pytest.raises(InputError, match=r"the model observes \[\], expected exactly one site"):
        predictive_check(unobserved, torch.randn(4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_replications": 0}, "num_replications is 0"),
        ({"statistics": {}}, "statistics is empty: give functions by name"),
        ({"seed": -1}, "seed is -1"),
        ({"x": torch.full((2, 2), 0.5)}, "Poisson needs counts"),
        ({"x": torch.zeros(2, 3)}, r"the data have the shape \(3,\)"),
    ],
)
def test_what_is_refused(options, words):
    model, guide = of_log_rates(0.0, 1.0)
    with pytest.raises(InputError, match=words):
        predictive_check(**{"model": model, "x": torch.zeros(2, 2), "guide": guide, **options})
