"""Likelihoods: curvature and score against enumeration of the support, and data that do not fit."""

import math

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, Poisson
from pyro_vaes.recipes import Settings, build_vae, load_data
from tests.helpers.likelihoods import SHAPE, per_pixel


def logistic(levels, **options):
    return lambda: DiscretizedLogistic(levels, scale=0.2, **options)


CASES = {
    "Bernoulli": (Bernoulli, torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])),
    "Gaussian": (lambda: Gaussian(0.5), torch.linspace(0, 1, 5)),
    "Gaussian-pixel": (lambda: per_pixel(Gaussian(0.5, shape=SHAPE)), torch.linspace(0, 1, 5)),
    "DiscretizedLogistic-2": (logistic(2), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])),
    "DiscretizedLogistic-5": (logistic(5), torch.linspace(0, 1, 5)),
    "DiscretizedLogistic-pixel": (lambda: per_pixel(logistic(9, shape=SHAPE)()), torch.linspace(0, 1, 5)),
    "Poisson": (Poisson, torch.arange(5)),
}


def support(likelihood):
    """All values of a discrete x, up to those of negligible probability; None for a continuous one."""
    if isinstance(likelihood, DiscretizedLogistic):
        return torch.arange(likelihood.num_bins).double() / (likelihood.num_bins - 1)
    count = {Bernoulli: 2, Poisson: 60}.get(type(likelihood))
    return None if count is None else torch.arange(count).double()


def probabilities(likelihood, features, values):
    """P(xᵢ = v | features), a row a value; all other pixels are 0, which changes each column by a factor only."""
    return likelihood(features).log_prob(values[:, None, None] * torch.eye(*SHAPE * 2)).softmax(0)


@pytest.fixture(params=CASES)
def case(request):
    make, x = CASES[request.param]
    return make().double(), x.double(), torch.randn(SHAPE).double()


def test_fisher_is_the_expected_curvature(case):
    likelihood, x, features = case

    def curvature(value):
        return torch.func.hessian(lambda f: -likelihood(f).log_prob(value))(features)

    if (values := support(likelihood)) is None:
        expected = curvature(x)  # the same for every x
    else:  # pixels are independent: the exact expectation, entry by entry
        curvatures = torch.stack([curvature(value.expand(SHAPE)) for value in values])
        expected = (probabilities(likelihood, features, values).unsqueeze(-1) * curvatures).sum(0)
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


def test_mean_is_the_sum_over_the_support(case):
    likelihood, _, features = case
    if (values := support(likelihood)) is not None:
        expected = (probabilities(likelihood, features, values) * values.unsqueeze(-1)).sum(0)
        torch.testing.assert_close(likelihood.mean(features), expected)


def test_mean_and_shapes(case):
    likelihood, _, features = case
    wide = features.expand(3, 2, *SHAPE)
    p = likelihood(wide)
    assert (p.batch_shape, p.event_shape) == ((3, 2), SHAPE)
    for value in (likelihood.mean(wide), likelihood.fisher(wide), likelihood.score(wide, p.sample())):
        assert value.shape == wide.shape
    torch.testing.assert_close(likelihood.mean(wide), p.mean)


IMAGES = [
    Bernoulli(),
    Gaussian(0.5),
    Gaussian(0.5, shape=(1, 2, 3)),
    DiscretizedLogistic(5, shape=(1, 2, 3)),
    Poisson(),
]


@pytest.mark.parametrize("likelihood", IMAGES)
def test_images_are_one_event(likelihood):
    p = likelihood(torch.zeros(7, 4, 1, 2, 3))
    assert (p.batch_shape, p.event_shape) == ((7, 4), (1, 2, 3))


@pytest.mark.parametrize("gray", [0.5, 1.5, -1.0, math.nan])
def test_bernoulli_refuses_grey_pixels(gray):
    x = torch.tensor([[0.0, 1.0], [1.0, gray]])
    with pytest.raises(InputError, match=f"x holds {gray:.4g}.*binarize"):
        Bernoulli().check(x)


def test_data_in_the_support_pass():
    Bernoulli().check(torch.tensor([[0.0, 1.0]]))
    Bernoulli().check(torch.empty(0, 2))
    Gaussian().check(torch.randn(3, 2))
    DiscretizedLogistic().check(torch.arange(256) / 255)
    Poisson().check(torch.tensor([0.0, 1.0, 1000.0]))


@pytest.mark.parametrize("value", [0.5, -1.0, math.inf, math.nan])
def test_poisson_refuses_what_is_no_count(value):
    with pytest.raises(InputError, match=f"x holds {value:.4g}: pixels .* are not counts"):
        Poisson().check(torch.tensor([3.0, value]))


@pytest.mark.parametrize(
    ("likelihood", "options", "words"),
    [
        ("gaussian", {}, "dequantized with uniform noise"),
        ("bernoulli", {}, "dynamically binarized"),
        ("bernoulli", {"binarize": "threshold"}, "binarized at a threshold"),
        ("discretized-logistic(num_bins=17)", {}, "without dequantization"),
        ("poisson", {}, "counts, as given"),
        ("negative-binomial", {}, "counts, as given"),
        ("zero-inflated(likelihood='poisson')", {}, "counts, as given"),
        ("categorical(num_bins=17)", {}, "without dequantization"),
        ("student-t", {}, "dequantized with uniform noise"),
        ("standardized(likelihood='student-t')", {}, "values, as given"),
        ("heteroscedastic-gaussian", {"kind": "values"}, "values, as given"),
    ],
)
def test_the_command_line_prepares_data_for_the_likelihood(likelihood, options, words):
    settings = Settings(likelihood=likelihood, latent_dim=2, hidden=(8,), **options)
    data = load_data(settings)
    assert words in data.description
    build_vae(data.event_shape, settings).likelihood.check(data.valid.x)


@pytest.mark.parametrize("call", [lambda p: p(torch.zeros(2)), lambda p: p.fisher(torch.zeros(2))])
def test_an_unfinished_likelihood_says_what_is_missing(call):
    class Mine(Likelihood):
        """It implements nothing."""

    with pytest.raises(NotImplementedError, match="Mine"):
        call(Mine())
