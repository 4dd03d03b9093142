"""Probabilistic PCA against its closed form."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import ppca


@pytest.mark.parametrize("event_shape", [(6,), (1, 2, 3)])
def test_ppca_is_the_normal_of_its_closed_form(event_shape):
    train, test = (torch.randn(n, 6).double() @ torch.randn(6, 6).double() + 1 for n in (40, 7))
    variances, vectors = torch.linalg.eigh(train.T.cov())
    noise = variances[:4].mean()
    factors = vectors[:, 4:] * (variances[4:] - noise).sqrt()
    covariance = factors @ factors.T + noise * torch.eye(6)
    expected = dist.MultivariateNormal(train.mean(0), covariance).log_prob(test)
    result = ppca(train.view(40, *event_shape), test.view(7, *event_shape), latent_dim=2)
    torch.testing.assert_close(result.per_datum, expected)
    assert result.mean == pytest.approx(expected.mean().item())
    assert result.stderr == pytest.approx(expected.std().item() / 7**0.5)


@pytest.mark.parametrize(("train", "latent_dim"), [(40, 0), (40, 6), (3, 3)])
def test_ppca_refuses_too_many_factors(train, latent_dim):
    with pytest.raises(InputError, match=f"{latent_dim} factors of {train} observations of 6 dimensions"):
        ppca(torch.rand(train, 6), torch.rand(5, 6), latent_dim)


def test_ppca_refuses_data_without_noise():
    x = torch.rand(40, 6)
    x[:, 2:] = 0
    with pytest.raises(InputError, match="2 factors explain the data exactly"):
        ppca(x, x, 2)
