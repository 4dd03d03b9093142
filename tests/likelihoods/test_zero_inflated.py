"""The zero-inflated likelihood against its closed form, and its moments as exact sums over counts."""

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import NegativeBinomial, Poisson, ZeroInflated
from tests.helpers.likelihoods import assert_exact

FEATURES = torch.cartesian_prod(torch.linspace(-3, 3, 5), torch.linspace(-4, 4, 5)).double()
COUNTS = torch.arange(4000).double().unsqueeze(-1)
BASES = {"Poisson": Poisson, "NegativeBinomial": lambda: NegativeBinomial(dispersion=0.7)}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


@every_base
def test_moments_are_exact(base):
    assert_exact(ZeroInflated((1,), base()).double(), FEATURES, COUNTS)


@every_base
def test_density_is_the_closed_form(base):
    likelihood, x = ZeroInflated((1,), base()).double(), COUNTS[:20, None]
    f, g = FEATURES.chunk(2, -1)
    gate = g.sigmoid()[:, 0]
    expected = gate * (x[..., 0] == 0) + (1 - gate) * likelihood.likelihood(f).log_prob(x).exp()
    torch.testing.assert_close(likelihood(FEATURES).log_prob(x).exp(), expected)


@every_base
def test_without_inflation_it_is_its_base(base):
    likelihood = ZeroInflated((1,), base()).double()
    f = FEATURES[:, :1]
    features = torch.cat([f, torch.full_like(f, -40)], -1)
    x = COUNTS[:20, None]
    torch.testing.assert_close(likelihood(features).log_prob(x), likelihood.likelihood(f).log_prob(x))
    of_f = likelihood.fisher(features)[:, :1]
    torch.testing.assert_close(of_f, likelihood.likelihood.fisher(f))


@every_base
def test_fisher_is_positive_in_float32_too(base):
    features = torch.cartesian_prod(torch.linspace(-12, 8, 41), torch.linspace(-15, 15, 31))
    assert (ZeroInflated((1,), base()).fisher(features) > 0).all()


def test_maps_of_images_lie_one_after_another():
    likelihood = ZeroInflated((3, 2, 2), Poisson())
    f, g = torch.randn(2, 5, 3, 2, 2).unbind(0)
    features = torch.cat([f, g], 1)
    assert likelihood.features_shape == features.shape[1:]
    assert all(map(torch.equal, likelihood.maps(features), (f, g)))
    torch.testing.assert_close(likelihood.mean(features), g.neg().sigmoid() * f.exp())


def test_features_of_another_shape_are_refused():
    with pytest.raises(
        InputError, match=r"features \(4,\), but this ZeroInflated expects 2 maps, \(6,\): give the dec"
    ):
        ZeroInflated((3,), Poisson())(torch.zeros(5, 4))


def test_bases_are_named():
    assert isinstance(ZeroInflated.build((3,)).likelihood, NegativeBinomial)
    assert isinstance(ZeroInflated.build((3,), likelihood="poisson").likelihood, Poisson)
    with pytest.raises(InputError, match="unknown likelihood of counts 'poison': did you mean 'poisson'"):
        ZeroInflated.build((3,), likelihood="poison")


def test_what_is_no_count_is_refused():
    with pytest.raises(InputError, match=r"ZeroInflated needs counts 0, 1, 2 …, but x holds 0.5"):
        ZeroInflated((1,), Poisson()).check(torch.tensor([[0.5]]))
