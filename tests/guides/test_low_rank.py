"""The low-rank guide: its covariance and its closed-form KL."""

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal, kl_divergence

from pyro_vaes.guides import LowRank, MeanField
from pyro_vaes.losses import ELBO
from pyro_vaes.networks.positive import positive
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive


@pytest.fixture
def linear():
    return LinearGaussian(latent_dim=4)


@pytest.mark.parametrize("rank", [1, 2, 6])
def test_covariance_is_diagonal_plus_low_rank(linear, rank):
    guide = LowRank(linear.vae, linear.encoder, rank=rank).double()
    torch.nn.init.normal_(guide.head.weight)
    q = guide.posterior(linear.x)
    mean, raw_scale, *relative = guide.head(guide.encoder(linear.x)).split(4, -1)
    assert len(relative) == rank
    scale = positive(raw_scale)
    columns = [scale * each for each in relative]
    expected = torch.diag_embed(scale**2) + sum(f.unsqueeze(-1) * f.unsqueeze(-2) for f in columns)
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.covariance_matrix, expected)
    dense, z = MultivariateNormal(mean, expected), torch.randn(3, *mean.shape).double()
    torch.testing.assert_close(q.log_prob(z), dense.log_prob(z))


def test_kl_equals_that_of_two_multivariate_normals(linear):
    guide = LowRank(linear.vae, linear.encoder).double()
    torch.nn.init.normal_(guide.head.weight)
    q = guide.posterior(linear.x)
    p = Independent(Normal(torch.randn(4).double(), torch.rand(4).double() + 0.5), 1)
    dense = MultivariateNormal(q.mean, q.covariance_matrix), MultivariateNormal(p.mean, torch.diag(p.variance))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(*dense))
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Independent(Laplace(torch.zeros(4), 1.0), 1))


def test_it_holds_the_exact_posterior_that_mean_field_misses(linear):
    smallest, basis = torch.linalg.eigh(linear.covariance)
    columns = basis[:, 1:] * (smallest[1:] - smallest[0]).sqrt()
    scale = smallest[:1].sqrt().expand(4)
    guide = LowRank(linear.vae, linear.encoder, rank=3)
    linear.set_optimal(guide, inverse_positive(scale), (columns / scale.unsqueeze(-1)).T.flatten())
    guide.analytic_kl = False  # so that the noise cancels
    terms = ELBO().terms(linear.vae, guide, linear.x)
    torch.testing.assert_close(terms["reconstruction"] - terms["kl"], linear.log_evidence, rtol=0, atol=1e-6)
    assert linear.mean_field_gap > 0.1


def test_it_is_mean_field_at_first(linear):
    guide, mean_field = LowRank(linear.vae, linear.encoder, rank=2).double(), MeanField(linear.vae, linear.encoder)
    mean_field.head = nn.Linear(8, 8).double()
    mean_field.head.load_state_dict({"weight": guide.head.weight[:8], "bias": guide.head.bias[:8]})
    z = torch.randn(4).double()
    torch.testing.assert_close(guide.posterior(linear.x).log_prob(z), mean_field.posterior(linear.x).log_prob(z))


@pytest.mark.parametrize("rank", [0, -1, 1.5, True])
def test_rank_is_checked(linear, rank):
    with pytest.raises(ValueError, match=f"rank is {rank}"):
        LowRank(linear.vae, linear.encoder, rank=rank)
