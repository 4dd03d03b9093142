"""Draws of a proposal and its defensive parts."""

import math

import pytest
import torch

from pyro_vaes import guides
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.guide import GuideDensity
from pyro_vaes.evaluate.marginal.modes import propose
from pyro_vaes.evaluate.marginal.target import ModelTarget


def test_weights_of_a_proposal_have_the_mean_one(linear):
    """Of the posterior itself, which is its own target: the defensive parts are drawn and counted alike."""
    sampler = Sampler(ModelTarget(linear.vae, linear.x), guides.MeanField(linear.vae, linear.encoder).double())
    mixture = propose(sampler)
    draws = sampler.draw(mixture, 20_000)
    weights = (draws.log_joint - draws.log_proposal(mixture.log_prob(draws.z)) - linear.log_evidence).exp()
    errors = weights.std(0) / len(weights) ** 0.5
    assert errors.max() < 0.02
    assert ((weights.mean(0) - 1).abs() < 4 * errors).all()
    guide = sampler.guide.log_prob(draws.z)
    assert (draws.log_proposal(mixture.log_prob(draws.z)) >= guide + math.log(0.05) - 1e-9).all()


@pytest.mark.parametrize(("source", "method"), [(ModelTarget, "prior_draws"), (GuideDensity, "sample")])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_draw_that_overflows_has_no_weight(linear, monkeypatch, source, method, value):
    """As a trained flow may, seldom, far out in its tails."""
    draw = getattr(source, method)

    def overflowing(self, num_draws):
        z = draw(self, num_draws).clone()
        z[::9, :, 1] = value
        return z

    monkeypatch.setattr(source, method, overflowing)
    guide = guides.MeanField(linear.vae, linear.encoder).double()
    sampler = Sampler(ModelTarget(linear.vae, linear.x), guide)
    draws = sampler.draw(propose(sampler), 900)
    assert draws.z.isfinite().all()
    assert (draws.log_joint == -math.inf).all(1).sum() == math.ceil(45 / 9)
    result = marginal_log_likelihood(linear.vae, linear.x, guide, tolerance=1e-4)
    torch.testing.assert_close(result.per_datum, linear.log_evidence, rtol=0, atol=0.02)
