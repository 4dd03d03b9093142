"""The discretized logistic likelihood: probabilities of its levels."""

import copy
import math

import pyro
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import DiscretizedLogistic
from tests.helpers.likelihoods import SHAPE, per_pixel


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
    torch.manual_seed(0)
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
