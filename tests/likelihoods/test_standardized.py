"""Standardized data: densities, draws and means in the original units, whatever these are."""

import math

import pytest
import torch

from pyro_vaes import VAE, evaluate, fit, guides, likelihoods, networks, priors
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Gaussian, HeteroscedasticGaussian, Standardized, StudentT
from tests.helpers.likelihoods import assert_exact

UNITS, OFFSET = torch.tensor([1e-3, 1.0, 5e4]), torch.tensor([7.0, -300.0, 2e5])


def of_data(likelihood):
    made = Standardized((1,), likelihood).double()
    made.initialize(torch.tensor([[100.0], [300.0]]).double())
    return made


@pytest.mark.parametrize(
    "make", [lambda: Gaussian(0.5), lambda: HeteroscedasticGaussian((1,))], ids=["Gaussian", "Heteroscedastic"]
)
def test_moments_are_exact_in_the_original_units(make):
    likelihood = of_data(make())
    features = torch.randn(6, *(likelihood.features_shape or (1,))).double()
    values = torch.linspace(-4000, 4400, 20_001, dtype=torch.double).unsqueeze(-1)
    assert_exact(likelihood, features, values, 8400 / 20_000)


def test_density_is_the_change_of_variables():
    x = OFFSET + UNITS * torch.randn(40, 3)
    likelihood, features = Standardized((3,), StudentT(scale=0.7)), torch.randn(40, 3)
    likelihood.initialize(x)
    y = (x - x.mean(0)) / x.std(0, correction=0)
    expected = likelihood.likelihood(features).log_prob(y) - x.std(0, correction=0).log().sum()
    torch.testing.assert_close(likelihood(features).log_prob(x), expected)
    torch.testing.assert_close(likelihood.encoder_input(x), y)


def test_a_constant_feature_stays_finite():
    likelihood = Standardized((2,), Gaussian())
    likelihood.initialize(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
    assert likelihood.scale.tolist() == [0.5, 1.0]
    assert likelihood(torch.zeros(1, 2)).log_prob(torch.tensor([[1.0, 5.0]])).isfinite()


@pytest.mark.parametrize("guide", ["MeanField", "Laplace", "InverseAutoregressiveFlow", "Mixture"])
def test_other_units_change_nothing_but_the_density_by_a_constant(guide):
    y = torch.randn(120, 2) @ torch.randn(2, 3)
    found = []
    for units, offset in [(torch.ones(3), torch.zeros(3)), (UNITS.double(), OFFSET.double())]:
        x = (y.double() * units + offset).float() if units.dtype == torch.double else y
        data = Data.from_arrays(x_train=x[:80], x_valid=x[80:100], x_test=x[100:], kind="values")
        torch.manual_seed(0)
        model = VAE(networks.MLPDecoder(2, (3,), hidden=(8,)), priors.StandardNormal(2), Standardized((3,), Gaussian()))
        made = getattr(guides, guide)(model, networks.MLPEncoder((3,), hidden=(8,)))
        fit(model, made, data, epochs=2, batch_size=40, device="cpu", progress=False)
        torch.manual_seed(0)
        found.append((evaluate.log_likelihood(model, made, data.test.x, 50).mean, model.sample(2000)))
    (first, draws), (second, others) = found
    assert second == pytest.approx(first - UNITS.log().sum().item(), abs=0.1)
    torch.testing.assert_close((others.mean(0) - OFFSET) / UNITS, draws.mean(0), rtol=0, atol=0.5)


def test_bases_are_named():
    assert isinstance(Standardized.build((3,), likelihood="student-t").likelihood, StudentT)
    with pytest.raises(InputError, match="unknown likelihood of values 'gausian': did you mean 'gaussian'"):
        Standardized.build((3,), likelihood="gausian")


def test_it_keeps_its_units_when_it_is_saved():
    likelihood = of_data(Gaussian())
    other = Standardized((1,), Gaussian()).double()
    other.load_state_dict(likelihood.state_dict())
    assert other.loc.item() == 200
    assert other.likelihood.log_scale.exp().item() == pytest.approx(1.0)
    assert math.isclose(other.mean(torch.ones(1, 1).double()).item(), 300.0)


def test_every_base_is_one_of_values():
    assert all("values" in getattr(likelihoods, each).kinds for each in ("Gaussian", "StudentT", "Standardized"))
