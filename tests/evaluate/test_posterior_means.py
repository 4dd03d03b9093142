"""Posterior means: the units that they move."""

import pytest
import torch

from pyro_vaes.evaluate import active_units
from pyro_vaes.guides import MeanField
from tests.helpers.linear_gaussian import LinearGaussian


@pytest.fixture
def linear():
    return LinearGaussian()


@pytest.mark.parametrize("active", [0, 1, 3])
def test_active_units_counts_the_means_that_move(linear, active):
    guide = linear.set_optimal(MeanField(linear.vae, linear.encoder), torch.zeros(3).double())
    with torch.no_grad():
        guide.head.weight[active:] = 0
    assert active_units(guide, linear.vae.sample(600)) == active
