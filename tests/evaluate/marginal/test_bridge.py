"""Annealing from a proposal to the posterior."""

import math

import torch

from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.marginal import adapt, estimate, weights
from pyro_vaes.evaluate.marginal.bridge import Bridge, annealed_mean
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import ModelTarget
from tests.helpers.quadrature import assert_equals


def off(linear):
    """A proposal that lies beside the posterior."""
    loc = linear.mean.detach().unsqueeze(1) + 1.0
    return StudentMixture(torch.zeros(5, 1).double(), loc, 0.5 * torch.eye(3).double().expand(5, 1, 3, 3))


def test_bridge_goes_from_the_proposal_to_the_target(linear):
    run = ModelTarget(linear.vae, linear.x)
    bridge = Bridge(run, off(linear))
    u = bridge.prior_draws(4000)
    assert u.mean(0).abs().max() < 0.1
    state = bridge(u[:3])
    z = bridge.loc + 0.5 * u[:3]
    torch.testing.assert_close(state.log_density(0.0), off(linear).log_prob(z))
    torch.testing.assert_close(state.log_density(1.0), run.log_joint(z).detach())
    torch.testing.assert_close(state.score(1.0), 0.5 * run.score(z))


def test_annealing_from_a_poor_proposal(linear):
    result = annealed_mean(ModelTarget(linear.vae, linear.x), off(linear))
    assert result.stderr.max() < 0.2
    assert ((result.log_p - linear.log_evidence).abs() < 4 * result.stderr).all()


def test_what_stays_unsettled_is_annealed(linear, monkeypatch):
    monkeypatch.setattr(weights, "HIGHEST_K", -math.inf)  # nothing is good enough
    monkeypatch.setattr(adapt, "ROUNDS", 1)
    monkeypatch.setattr(estimate, "propose", lambda sampler: off(linear))
    result = marginal_log_likelihood(linear.vae, linear.x)
    assert set(result.method) == {"annealed importance sampling"}
    assert_equals(result, linear.log_evidence, largest=0.2)
