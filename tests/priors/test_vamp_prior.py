"""VampPrior: the mixture that a guide makes, its gradients, its copies, and what it refuses."""

import copy

import pyro
import pytest
import torch

from pyro_vaes import VAE, fit
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import FullCovariance, Laplace
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import VampPrior
from tests.helpers.priors import AMORTIZED, SHAPE, pair, vamp


@pytest.mark.parametrize("guide", AMORTIZED)
def test_vamp_prior_is_the_mixture_of_the_guides_posteriors(guide):
    model, q = vamp(guide)
    z = torch.randn(7, 2)
    inputs = model.prior.pseudo_inputs
    assert inputs.shape == (6, *SHAPE)
    assert 0 < inputs.min() < inputs.max() < 1
    with torch.no_grad():
        by_hand = (
            torch.stack([q.posterior(u.unsqueeze(0)).log_prob(z) for u in inputs]).logsumexp(0) - torch.tensor(6).log()
        )
        torch.testing.assert_close(model.prior().log_prob(z), by_hand)
        inputs = torch.rand(4, *SHAPE)
        q.head.bias += 1
        assert not torch.allclose(model.prior().log_prob(z), by_hand), "the prior must follow the guide"


def test_vamp_prior_registers_the_pseudo_inputs_alone_and_each_parameter_once():
    model, guide = vamp()
    assert {name for name, _ in model.prior.named_parameters()} == {"pseudo_logits"}
    assert not {*map(id, model.parameters())} & {*map(id, guide.parameters())}
    guide(x := torch.rand(3, *SHAPE).round())
    model(x)
    store = pyro.get_param_store()
    assert len(store) == len([*model.parameters(), *guide.parameters()])


def test_gradients_of_the_prior_reach_pseudo_inputs_and_encoder():
    model, guide = vamp()
    model.prior().log_prob(torch.randn(5, 2)).sum().backward()
    for name, p in [("pseudo_logits", model.prior.pseudo_logits), *guide.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_vamp_prior_starts_at_training_data():
    x = torch.rand(40, *SHAPE).round()
    data = Data.from_arrays(x_train=x.squeeze(1), x_test=x[:5].squeeze(1))
    model, guide = vamp()
    fit(model, guide, data, epochs=1, lr=1e-9, progress=False, device="cpu")
    inputs = model.prior.pseudo_inputs.detach()
    assert len(inputs.round().unique(dim=0)) == 6
    assert all((x == u).flatten(1).all(1).any() for u in inputs.round())
    torch.testing.assert_close(inputs, 0.05 + 0.9 * inputs.round())


def test_fewer_data_than_pseudo_inputs_leave_the_others_as_they_were():
    model, _ = vamp()
    before = model.prior.pseudo_logits.detach().clone()
    model.prior.initialize(torch.rand(2, *SHAPE))
    changed = (model.prior.pseudo_logits != before).flatten(1).all(1)
    assert changed.tolist() == [True] * 2 + [False] * 4


def test_a_copy_of_the_pair_has_a_prior_of_its_own_guide():
    model, guide = vamp()
    other_model, other_guide = copy.deepcopy((model, guide))
    assert other_model.prior.posterior.func.__self__ is other_guide
    assert model.prior.posterior.func.__self__ is guide


def test_vamp_prior_refuses_to_be_used_without_a_guide():
    model = VAE(MLPDecoder(2, SHAPE), VampPrior(2), Bernoulli())
    with pytest.raises(InputError, match=r"no guide yet: build one first"):
        model.sample(2)


@pytest.mark.parametrize("updates", [0, 2])
def test_vamp_prior_refuses_a_guide_that_asks_for_the_prior(updates):
    model, guide = pair(VampPrior(2), lambda *both: Laplace(*both, updates=updates))
    words = r"the posterior of this guide depends on the prior: .* such as MeanField or FullCovariance"
    for use in (model.prior, lambda: guide(torch.zeros(3, *SHAPE))):
        with pytest.raises(InputError, match=words):
            use()


def test_vamp_prior_refuses_a_second_guide():
    model, guide = vamp()
    with pytest.raises(InputError, match=r"another guide's posteriors already: build the second guide on a VAE"):
        FullCovariance(model, guide.encoder)


@pytest.mark.parametrize("value", [-0.5, 2.0, float("nan")])
def test_vamp_prior_refuses_data_outside_the_unit_interval(value):
    model, _ = vamp()
    with pytest.raises(InputError, match=rf"\[0, 1\], but x holds {value:.4g}"):
        model.prior.initialize(torch.full((3, *SHAPE), value))
