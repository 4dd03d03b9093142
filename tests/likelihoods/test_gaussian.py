"""The Gaussian likelihood: where its scale comes from."""

import math

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Gaussian


@pytest.mark.parametrize("shape", [(), (1, 4, 4)], ids=["scalar", "pixel"])
def test_gaussian_initializes_from_the_deviation_from_the_pixel_means(shape):
    x = torch.rand(50, 1, 4, 4) * torch.rand(1, 4, 4)
    likelihood = Gaussian(shape=shape)
    likelihood.initialize(x)
    deviation = (x - x.mean(0)) ** 2
    expected = deviation.mean(0).sqrt() if shape else deviation.mean().sqrt()
    torch.testing.assert_close(likelihood.log_scale.exp(), expected)
    assert likelihood.log_scale.requires_grad


def test_gaussian_survives_constant_pixels():
    likelihood = Gaussian(shape=(3,))
    likelihood.initialize(torch.ones(8, 3))
    assert likelihood.log_scale.isfinite().all()


@pytest.mark.parametrize("learn", [True, False])
def test_gaussian_keeps_a_given_scale(learn):
    likelihood = Gaussian(0.25, learn=learn)
    likelihood.initialize(torch.rand(8, 3))
    assert likelihood.log_scale.item() == pytest.approx(math.log(0.25))
    assert likelihood.log_scale.requires_grad is learn


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
def test_gaussian_refuses_scales(scale):
    with pytest.raises(InputError, match="expected a positive number"):
        Gaussian(scale)


def test_gaussian_without_scale_must_learn_it():
    with pytest.raises(InputError, match=r"Gaussian\(scale=0.25, learn=False\)"):
        Gaussian(learn=False)
