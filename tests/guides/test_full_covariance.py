"""The warm-up of the full-covariance guide: diagonal at first, then continuously more of the covariance."""

import pytest
import torch

from pyro_vaes.guides import FullCovariance
from tests.helpers.linear_gaussian import LinearGaussian


@pytest.fixture
def guide():
    linear = LinearGaussian()
    guide = FullCovariance(linear.vae, linear.encoder).double()
    torch.nn.init.normal_(guide.head.weight, std=0.3)
    return guide


def factor(guide, progress):
    guide.progress = progress
    x = torch.randn(4, *guide.vae.event_shape, generator=torch.Generator().manual_seed(1)).double()
    return guide.posterior(x).scale_tril


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.7])
def test_it_is_diagonal_in_the_first_seven_tenths(guide, progress):
    found = factor(guide, progress)
    torch.testing.assert_close(found, torch.diag_embed(factor(guide, 1.0).diagonal(dim1=-2, dim2=-1)))


@pytest.mark.parametrize("progress", [0.7, 0.85, 0.999])
def test_it_ramps_in_linearly_to_the_whole_covariance(guide, progress):
    whole = factor(guide, 1.0)
    expected = whole.triu() + (progress - 0.7) / 0.3 * whole.tril(-1)
    torch.testing.assert_close(factor(guide, progress), expected)
