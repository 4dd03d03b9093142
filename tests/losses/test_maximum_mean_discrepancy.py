"""The MMD loss: against a double loop and a closed form, its parts, its refusals."""

import math

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO, MaximumMeanDiscrepancy
from pyro_vaes.losses.maximum_mean_discrepancy import squared_mmd
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.recipes import RECIPES
from pyro_vaes.testing import check_loss, pair
from tests.helpers.hierarchies import PAIRS
from tests.helpers.losses import build


def kernel(a, b):
    return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / len(a) ** 2)


def mean_kernel(first, second):
    return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))


def expected_kernel(mean, variance, size):
    """E exp(-‖d‖² / Z²) of d ~ N(mean, variance I): a Gaussian integral in each dimension."""
    return math.prod(
        (1 + 2 * variance / size**2) ** -0.5 * math.exp(-(each**2) / (size**2 + 2 * variance)) for each in mean
    )


@pytest.mark.parametrize("sizes", [(5, 7), (1, 3), (4, 4)])
@pytest.mark.parametrize("dims", [1, 3])
def test_equals_a_double_loop(sizes, dims):
    one, other = (torch.randn(size, dims, dtype=torch.float64) for size in sizes)
    first, second = one.tolist(), other.tolist()
    expected = mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)
    assert squared_mmd(one, other).item() == pytest.approx(expected, abs=1e-12)
    assert squared_mmd(other, one).item() == pytest.approx(expected, abs=1e-12)


def test_of_equal_samples_is_zero():
    sample = torch.randn(20, 4, dtype=torch.float64)
    assert abs(squared_mmd(sample, sample)) < 1e-15
    assert abs(squared_mmd(sample, sample[torch.randperm(20)])) < 1e-14


@pytest.mark.parametrize(("shift", "scale"), [((0.0, 0.0), 1.0), ((1.0, -2.0), 0.5)])
def test_expectation_is_that_of_two_normals(shift, scale):
    """E MMD² of N draws each is in closed form, the N equal pairs of each sample among the N²."""
    size, draws, repeats = 2, 50, 400
    own, prior = (expected_kernel([0.0] * size, 2 * variance, size) for variance in (scale**2, 1.0))
    cross = expected_kernel(shift, 1 + scale**2, size)
    expected = ((draws - 1) * (own + prior) + 2) / draws - 2 * cross
    z, other = torch.randn(2, repeats, draws, size, dtype=torch.float64)
    found = torch.stack([squared_mmd(scale * a + torch.tensor(shift), b) for a, b in zip(z, other, strict=True)])
    assert abs(found.mean() - expected) < 4 * found.std() / repeats**0.5


def test_objective_has_the_discrepancy_in_place_of_the_kl():
    vae, guide, x = build()
    torch.manual_seed(3)
    objective, terms = MaximumMeanDiscrepancy(weight=2.5).objective(vae, guide, x)
    assert torch.equal(objective, terms["reconstruction"] - 2.5 * terms["mmd"])
    assert (terms["mmd"] == terms["mmd"][0]).all()
    torch.manual_seed(3)
    plain = ELBO().terms(vae, guide, x)
    assert all(torch.equal(terms[name], plain[name]) for name in ("reconstruction", "kl"))
    codes, prior = guide.posterior(x).rsample(), torch.randn(len(x), 2)
    torch.manual_seed(3)
    ELBO().terms(vae, guide, x)
    codes, prior = guide.posterior(x).rsample(), vae.prior().expand((len(x),)).rsample()
    assert torch.equal(terms["mmd"][0], squared_mmd(codes, prior))


@pytest.mark.parametrize("name", PAIRS)
def test_latents_of_a_hierarchy_are_summed(name):
    model, guide, x, _ = PAIRS[name]()
    terms = MaximumMeanDiscrepancy().terms(model, guide, x)
    assert {"mmd", *(f"kl_{site}" for site in model.sites)} <= terms.keys()


def test_a_mixture_prior_and_every_pair_of_the_contract():
    check_loss(MaximumMeanDiscrepancy)
    made = pair(MeanField, prior=lambda size: GaussianMixture(size, components=3))
    assert MaximumMeanDiscrepancy().terms(made.model, made.guide, made.x)["mmd"].isfinite().all()


def test_discrete_latents_are_refused():
    settings = {"latent_dim": 2, "hidden": (8,), "prior": "gaussian-mixture(components=3)"}
    model, guide, _ = RECIPES["mixture"]((1, 4, 4), **settings)
    with pytest.raises(InputError, match="needs continuous latents, but 'y' is discrete"):
        MaximumMeanDiscrepancy().terms(model, guide, torch.rand(3, 1, 4, 4).round())


@pytest.mark.parametrize("weight", [0, -1.0, math.inf, math.nan])
def test_a_weight_is_positive(weight):
    with pytest.raises(InputError, match=f"weight is {weight}: expected a positive number"):
        MaximumMeanDiscrepancy(weight)
