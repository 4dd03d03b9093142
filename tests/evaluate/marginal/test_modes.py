"""Proposals at the modes of the posterior."""

import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.marginal import modes
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.modes import propose
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.priors import StandardNormal
from tests.helpers.quadrature import assert_equals, quadrature


class Square(nn.Module):
    """z²."""

    def forward(self, z):
        return z.square()


def test_both_modes_count():
    model = VAE(Square(), StandardNormal(1), Gaussian(0.3)).double()
    x = torch.tensor([[0.0], [0.5], [1.0], [4.0], [9.0]]).double()
    result = marginal_log_likelihood(model, x)
    expected = quadrature(model, x)
    assert_equals(result, expected)
    mixture = propose(Sampler(ModelTarget(model, x), None))
    assert mixture.log_weights.exp()[3].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert mixture.loc[3].abs().flatten().tolist() == pytest.approx([1.98, 1.98], abs=0.02)


def test_a_mode_that_all_ascents_missed_is_met_by_prior_draws(monkeypatch):
    monkeypatch.setattr(modes, "_prior_starts", lambda target: torch.ones(1, 1, 1).double())
    model = VAE(Square(), StandardNormal(1), Gaussian(0.3)).double()
    x = torch.tensor([[1.0]]).double()
    assert propose(Sampler(ModelTarget(model, x), None)).loc.shape == (1, 1, 1)
    result = marginal_log_likelihood(model, x)
    assert_equals(result, quadrature(model, x), largest=0.15)  # one wide component in place of two
    assert set(result.method) == {"adaptive importance sampling"}
