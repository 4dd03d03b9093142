"""Mixtures of Student-t distributions."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MixtureSameFamily, MultivariateNormal

from pyro_vaes.evaluate.marginal.student import DEGREES, StudentMixture


def test_student_mixture_is_that_of_pyro():
    torch.manual_seed(0)
    tril = torch.randn(4, 3, 2, 2).double().tril()
    tril.diagonal(dim1=-2, dim2=-1).abs_().add_(0.3)
    mixture = StudentMixture(torch.randn(4, 3).double().log_softmax(-1), torch.randn(4, 3, 2).double(), tril)
    parts = dist.Categorical(logits=mixture.log_weights)
    students = dist.MultivariateStudentT(torch.tensor(DEGREES).double(), mixture.loc, tril)
    normals = MultivariateNormal(mixture.loc, scale_tril=tril)
    z = torch.randn(5, 4, 2).double()
    torch.testing.assert_close(mixture.log_prob(z), dist.MixtureSameFamily(parts, students).log_prob(z))
    expected = MixtureSameFamily(parts, normals).log_prob(z)
    torch.testing.assert_close(mixture.log_components(z)[1].logsumexp(-1), expected)


def test_student_mixture_draws_have_its_moments():
    loc = torch.tensor([[[-20.0], [20.0]], [[0.0], [50.0]]]).double()
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).double()
    mixture = StudentMixture(weights.log(), loc, torch.tensor([0.5, 2.0]).double().view(1, 2, 1, 1).expand(2, 2, 1, 1))
    z = mixture.sample(40_000)
    upper = z[:, 0, 0] > 0
    assert upper.double().mean() == pytest.approx(0.75, abs=1e-3)
    assert z[upper, 0].mean() == pytest.approx(20.0, abs=0.1)
    assert z[~upper, 0].var() == pytest.approx(0.25 * DEGREES / (DEGREES - 2), rel=0.1)
    assert z[:, 1].var() == pytest.approx(0.25 * DEGREES / (DEGREES - 2), rel=0.1)
