"""Likelihoods: curvature and score against automatic differentiation, initialisation, refusals."""

import math

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli, Gaussian, Likelihood

SHAPE = (5,)


def gaussian_per_pixel():
    likelihood = Gaussian(0.5, shape=SHAPE)
    torch.nn.init.normal_(likelihood.log_scale)
    return likelihood


CASES = {
    "Bernoulli": (Bernoulli, torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])),
    "Gaussian": (lambda: Gaussian(0.5), torch.linspace(0, 1, 5)),
    "Gaussian-pixel": (gaussian_per_pixel, torch.linspace(0, 1, 5)),
}


@pytest.fixture(params=CASES)
def case(request):
    make, x = CASES[request.param]
    return make().double(), x.double(), torch.randn(SHAPE).double()


def test_fisher_is_the_expected_curvature(case):
    likelihood, x, features = case

    def curvature(value):
        return torch.func.hessian(lambda f: -likelihood(f).log_prob(value))(features)

    if isinstance(likelihood, Bernoulli):  # pixels are independent: the exact expectation, entry by entry
        probability = features.sigmoid()
        ones, zeros = curvature(torch.ones_like(x)), curvature(torch.zeros_like(x))
        expected = probability * ones + (1 - probability) * zeros
    else:
        expected = curvature(x)  # the same for every x
    torch.testing.assert_close(torch.diag(likelihood.fisher(features)), expected)


def test_score_is_the_gradient(case):
    likelihood, x, features = case
    torch.testing.assert_close(likelihood.score(features, x), Likelihood.score(likelihood, features, x))


def test_quadratic_means_affine_score_and_constant_fisher(case):
    likelihood, x, features = case
    change = torch.randn(SHAPE).double()
    predicted = likelihood.score(features, x) - likelihood.fisher(features) * change
    exact = torch.allclose(likelihood.score(features + change, x), predicted)
    assert exact is likelihood.quadratic


def test_mean_and_shapes(case):
    likelihood, _, features = case
    wide = features.expand(3, 2, *SHAPE)
    p = likelihood(wide)
    assert (p.batch_shape, p.event_shape) == ((3, 2), SHAPE)
    for value in (likelihood.mean(wide), likelihood.fisher(wide), likelihood.score(wide, p.sample())):
        assert value.shape == wide.shape
    torch.testing.assert_close(likelihood.mean(wide), p.mean)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(0.5), Gaussian(0.5, shape=(1, 2, 3))])
def test_images_are_one_event(likelihood):
    p = likelihood(torch.zeros(7, 4, 1, 2, 3))
    assert (p.batch_shape, p.event_shape) == ((7, 4), (1, 2, 3))


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


@pytest.mark.parametrize("grey", [0.5, 1.5, -1.0, math.nan])
def test_bernoulli_refuses_grey_pixels(grey):
    x = torch.tensor([[0.0, 1.0], [1.0, grey]])
    with pytest.raises(InputError, match=f"x holds {grey:.4g}.*binarize"):
        Bernoulli().check(x)


def test_data_in_the_support_pass():
    Bernoulli().check(torch.tensor([[0.0, 1.0]]))
    Bernoulli().check(torch.empty(0, 2))
    Gaussian().check(torch.randn(3, 2))


@pytest.mark.parametrize("call", [lambda p: p(torch.zeros(2)), lambda p: p.fisher(torch.zeros(2))])
def test_an_unfinished_likelihood_says_what_is_missing(call):
    class Mine(Likelihood):
        """It implements nothing."""

    with pytest.raises(NotImplementedError, match="Mine"):
        call(Mine())
