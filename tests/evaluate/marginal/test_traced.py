"""The marginal log-likelihood of a user's own Pyro models, with bounded latents too."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import marginal_log_likelihood
from tests.helpers.pyro_models import model_of, outside
from tests.helpers.quadrature import COUNTS, assert_equals


def chain_of_latents(x):
    shift = pyro.param("shift", torch.tensor(1.0))
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(shift, 1.0))
        low = pyro.sample("low", dist.Normal(top.unsqueeze(-1), torch.tensor([0.5, 2.0])).to_event(1))
        pyro.sample("x", dist.Normal(low, 0.5).to_event(1), obs=x)


def chain_guide(x):
    with pyro.plate("data", len(x)):
        low = pyro.sample("low", dist.Normal(x, 2.0).to_event(1))
        pyro.sample("top", dist.Normal(low.mean(-1), 1.0))


@pytest.mark.parametrize("guide", [None, chain_guide], ids=["no guide", "guide"])
def test_a_users_own_model_of_several_latents(guide):
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 4.0]])
    pyro.param("shift", torch.tensor(2.0))
    covariance = torch.ones(2, 2) + torch.tensor([0.5, 4.25]).diag()
    result = marginal_log_likelihood(chain_of_latents, x, guide)
    expected = MultivariateNormal(torch.full((2,), 2.0), covariance).log_prob(x)
    torch.testing.assert_close(result.per_datum, expected.double(), rtol=0, atol=2e-3)
    assert list(pyro.get_param_store()) == ["shift"]


def gamma_poisson(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
        pyro.sample("x", dist.Poisson(rate.unsqueeze(-1).expand(*rate.shape, x.shape[-1])).to_event(1), obs=x)


def gamma_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("rate", dist.Gamma(1.0 + x.sum(-1), 1.0 + x.shape[-1]))


def gamma_evidence(x):
    shape, total, count = 2.0, x.sum(-1), x.shape[-1]
    norm = torch.lgamma(total + shape) - math.lgamma(shape) - torch.lgamma(x + 1).sum(-1)
    return norm + shape * math.log(0.5) - (total + shape) * math.log(0.5 + count)


def dirichlet_multinomial(x):
    with pyro.plate("data", len(x)):
        share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
        pyro.sample("x", dist.Multinomial(probs=share, validate_args=False), obs=x)


def dirichlet_evidence(x):
    return dist.DirichletMultinomial(torch.tensor([1.0, 2.0, 3.0]), total_count=10).log_prob(x)


def uniform_within(x):
    """A bound that another latent sets."""
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Uniform(torch.tensor(1.0), 3.0))
        z = pyro.sample("z", dist.Uniform(torch.zeros(()), top))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.5).to_event(1), obs=x)


def uniform_evidence(x):
    top = torch.linspace(1, 3, 2001).double()
    inside = torch.special.ndtr((top - x) / 0.5) - torch.special.ndtr(-x / 0.5)
    return torch.trapezoid(inside / top / 2, top, dim=-1).log()


BOUNDED = {
    "positive": (gamma_poisson, None, COUNTS.float(), gamma_evidence),
    "positive, guided": (gamma_poisson, gamma_guide, COUNTS.float(), gamma_evidence),
    "simplex": (dirichlet_multinomial, None, torch.tensor([[1.0, 2, 7], [10, 0, 0], [3, 3, 4]]), dirichlet_evidence),
    "interval": (uniform_within, None, torch.tensor([[0.5], [2.0], [-0.3]]), uniform_evidence),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_latents(name):
    model, guide, x, evidence = BOUNDED[name]
    assert_equals(marginal_log_likelihood(model, x, guide), evidence(x).double())


def within_one(x):
    """Data that rule most latents out."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        low = z.unsqueeze(-1) - 1
        pyro.sample("x", dist.Uniform(low, low + 2, validate_args=False).to_event(1), obs=x)


def test_hard_edges():
    x = torch.tensor([[0.0], [0.7], [2.5]])
    inside = torch.special.ndtr(x.double() + 1) - torch.special.ndtr(x.double() - 1)
    assert_equals(marginal_log_likelihood(within_one, x), (inside / 2).log()[:, 0])


def two_sites(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("w", dist.Normal(0.0, 1.0))


def impossible(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Uniform(torch.full_like(x, 5.0), 6.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "guide", "words"),
    [
        (model_of(dist.Bernoulli(0.5)), None, "latent 'z' samples Bernoulli"),
        (model_of(dist.Poisson(3.0)), None, "latent 'z' samples Poisson"),
        (outside, None, "site 'z' has log-densities of shape"),
        (model_of(dist.Normal(0.0, 1.0), observe=False), None, r"has the sites \['z'\]: expected at least one latent"),
        (model_of(dist.Normal(0.0, 1.0)), two_sites, "but the guide samples"),
        (impossible, None, r"log p\(x, z\) is not finite for 3 of 3 observations"),
    ],
    ids=["binary", "count", "outside", "unobserved", "other latents", "impossible"],
)
def test_models_that_cannot_be_estimated_are_refused(model, guide, words):
    with pytest.raises(InputError, match=words):
        marginal_log_likelihood(model, torch.zeros(3, 2), guide)
