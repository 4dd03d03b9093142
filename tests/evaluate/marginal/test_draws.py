"""Draws of a proposal and its defensive parts."""

import math

from pyro_vaes import guides
from pyro_vaes.evaluate.marginal.draws import Sampler
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
