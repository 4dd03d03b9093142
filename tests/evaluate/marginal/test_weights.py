"""Means of importance weights, and tempered weights."""

import math

import pytest
import torch

from pyro_vaes.evaluate.marginal.weights import temper, weighted_mean


def test_a_held_control_variate_leaves_the_mean_as_it_is():
    proposal, normal = torch.distributions.StudentT(5.0), torch.distributions.Normal(0.0, 1.0)
    goal = torch.distributions.Normal(0.1, 0.95)
    z = proposal.sample((200, 2000)).double()
    log_weights, log_ratio = (each.log_prob(z) - proposal.log_prob(z) for each in (goal, normal))
    held = torch.full((2000,), math.log(0.9)).double()
    result = weighted_mean(log_weights + 2, log_ratio, held + 2)
    means = (result.log_p - 2).exp()
    assert means.mean() == pytest.approx(1.0, abs=4 * means.std().item() / 2000**0.5)
    plain = weighted_mean(log_weights[:, :100])
    assert means.std() < 0.6 * plain.log_p.exp().std()
    assert result.stderr.mean() == pytest.approx(means.std().item(), rel=0.05)


def test_tempering_leaves_enough_draws():
    log_weights = torch.cat([torch.randn(1000, 2).double() * 20, torch.zeros(1000, 1).double()], 1)
    log_weights[:10] = -math.inf
    weights = temper(log_weights, 100.0)
    effective = 1 / weights.square().sum(0)
    assert effective[:2].tolist() == pytest.approx([100, 100], rel=1e-3)
    assert effective[2].item() == pytest.approx(990)
    assert (weights[:10] == 0).all()


def test_weights_that_are_no_numbers_are_not_reliable():
    log_weights = torch.randn(1000, 3).double()
    log_weights[5, 1] = math.nan
    result = weighted_mean(log_weights, torch.randn(1000, 3).double())
    assert result.reliable.tolist() == [True, False, True]
    assert result.log_p.isnan().tolist() == [False, True, False]
