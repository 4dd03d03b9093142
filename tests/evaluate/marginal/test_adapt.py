"""The adaptation of a proposal by the moments of its draws."""

import torch

from pyro_vaes.evaluate.marginal import adapt
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.student import StudentMixture
from pyro_vaes.evaluate.marginal.target import ModelTarget


def test_moments_are_those_of_the_posterior(linear):
    sampler = Sampler(ModelTarget(linear.vae, linear.x), None)
    wide = StudentMixture(
        torch.zeros(5, 1).double(), torch.zeros(5, 1, 3).double(), torch.eye(3).double().expand(5, 1, 3, 3)
    )
    draws = sampler.draw(wide, 200_000)
    after = adapt.match_moments([adapt.Round(wide, draws)])
    torch.testing.assert_close(after.loc[:, 0], linear.mean, rtol=0, atol=0.05)
    covariance = after.scale_tril[:, 0] @ after.scale_tril[:, 0].mT
    torch.testing.assert_close(covariance, linear.covariance.expand(5, 3, 3), rtol=0.2, atol=0.01)
