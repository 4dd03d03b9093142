"""Likelihoods: curvature and score against automatic differentiation, initialisation, refusals."""

import copy
import math

import pyro
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, Poisson
from pyro_vaes.recipes import Settings, build_vae, load_data

SEED, SHAPE = 0, (5,)


def per_pixel(likelihood):
    torch.nn.init.normal_(likelihood.log_scale)
    return likelihood


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
    DiscretizedLogistic().check(torch.arange(256) / 255)
    Poisson().check(torch.tensor([0.0, 1.0, 1000.0]))


# --- discretised logistic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 0.05, 3.0])
@pytest.mark.parametrize("location", [-2.0, 0.0, 0.501, 1.7])
def test_level_probabilities_sum_to_one(location, scale):
    likelihood = DiscretizedLogistic(256, scale=scale).double()
    log_probs = likelihood(torch.full((256, 1), location).double()).log_prob(torch.arange(256).double()[:, None] / 255)
    assert log_probs.isfinite().all()
    torch.testing.assert_close(log_probs.exp().sum(), torch.ones(()).double(), rtol=0, atol=1e-12)


def test_far_tails_keep_value_and_gradient_in_float32():
    likelihood, levels = DiscretizedLogistic(256, scale=0.01), torch.arange(256)[:, None] / 255
    features = torch.full((256, 1), -4.0, requires_grad=True)
    log_probs = likelihood(features).log_prob(levels)
    exact = copy.deepcopy(likelihood).double()(features.double()).log_prob(levels.double())
    torch.testing.assert_close(log_probs.double(), exact, rtol=1e-5, atol=1e-5)
    log_probs.sum().backward()
    assert features.grad.isfinite().all()
    assert likelihood.log_scale.grad.isfinite()
    torch.testing.assert_close(features.grad, likelihood.score(features, levels), rtol=1e-4, atol=1e-4)


def test_sums_over_levels_do_not_depend_on_the_chunks(monkeypatch):
    def values_and_gradients():
        likelihood = per_pixel(DiscretizedLogistic(16, scale=0.2, shape=SHAPE)).double()
        features = torch.linspace(-1, 2, 5).double().requires_grad_()
        values = torch.stack([likelihood.fisher(features), likelihood.mean(features)])
        torch.nn.init.normal_(weights := torch.empty_like(values), generator=torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad((values * weights).sum(), [features, likelihood.log_scale])
        return torch.stack([*values.detach(), *gradients])

    whole = values_and_gradients()
    monkeypatch.setattr("pyro_vaes.distributions.discretized_logistic.CHUNK_VALUES", 4 * 5)
    torch.manual_seed(SEED)
    torch.testing.assert_close(values_and_gradients(), whole)


def test_many_fine_levels_approach_the_logistic_density():
    fine, features = DiscretizedLogistic(10_001, scale=0.05).double(), torch.full((1,), 0.5).double()
    torch.testing.assert_close(fine.fisher(features).item(), 1 / (3 * 0.05**2), rtol=1e-3, atol=0)
    density = fine(features).log_prob(torch.tensor([0.5]).double()).exp() * 10_000
    torch.testing.assert_close(density.item(), 1 / (4 * 0.05), rtol=1e-3, atol=0)


def test_logistic_initializes_to_the_standard_deviation_of_the_data():
    x = torch.rand(50, 4).mul(255).round() / 255
    likelihood = DiscretizedLogistic()
    likelihood.initialize(x)
    deviation = likelihood.log_scale.exp() * math.pi / math.sqrt(3)
    torch.testing.assert_close(deviation, (x - x.mean(0)).square().mean().sqrt())


@pytest.mark.parametrize("levels", [1, 0, 2.5, True])
def test_logistic_refuses_levels(levels):
    with pytest.raises(InputError, match=f"num_bins is {levels}"):
        DiscretizedLogistic(levels)


@pytest.mark.parametrize("value", [0.5, -1 / 255, 256 / 255, math.nan])
def test_logistic_refuses_data_off_the_levels(value):
    with pytest.raises(InputError, match=rf"r / 255, but x holds {value:.4g}.*dequantize=False.*num_bins=17"):
        DiscretizedLogistic().check(torch.tensor([[0.0, 1.0], [value, 1.0]]))


def test_validation_refuses_values_off_the_levels():
    with pytest.raises(ValueError, match="support"), pyro.validation_enabled():
        DiscretizedLogistic(5)(torch.zeros(2)).log_prob(torch.full((2,), 0.3))


# --- Poisson, and what data the command line loads ------------------------------------------------------------


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
        ("poisson", {"binarize": "static"}, "statically binarized"),
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
