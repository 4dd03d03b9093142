"""The Gaussian likelihood with a scale from the decoder: its moments by quadrature, and its bound."""

import torch

from pyro_vaes.likelihoods import Gaussian, HeteroscedasticGaussian
from pyro_vaes.networks.positive import positive
from tests.helpers.likelihoods import assert_exact

FEATURES = torch.cartesian_prod(torch.linspace(-2, 2, 3), torch.linspace(-3, 3, 5)).double()


def test_moments_are_exact():
    mean, raw_scale = FEATURES.unbind(-1)
    scale, nodes = positive(raw_scale), torch.linspace(-12, 12, 4001).double().unsqueeze(-1)
    assert_exact(HeteroscedasticGaussian((1,)).double(), FEATURES, mean + scale * nodes, scale * 24 / 4000)


def test_at_one_scale_it_is_the_gaussian():
    likelihood, x = HeteroscedasticGaussian((1, 2, 3)), torch.randn(4, 1, 2, 3)
    mean = torch.randn(4, 1, 2, 3)
    features = torch.cat([mean, torch.full_like(mean, 0.3)], 1)
    expected = Gaussian(positive(torch.tensor(0.3)).item())(mean).log_prob(x)
    torch.testing.assert_close(likelihood(features).log_prob(x), expected)


def test_no_scale_vanishes():
    features = torch.tensor([[0.0, -200.0]])
    assert HeteroscedasticGaussian((1,))(features).log_prob(torch.zeros(1, 1)).isfinite()
