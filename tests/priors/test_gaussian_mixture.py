"""The mixture prior: density, precision, first values, and Laplace under it."""

import copy

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.guides import Laplace
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal
from tests.helpers.priors import SHAPE, pair, uneven_mixture


def test_mixture_equals_a_sum_over_its_components():
    prior, z = uneven_mixture(), torch.randn(9, 2).double()
    scales = prior.log_scales.exp()
    parts = [
        weight * dist.Normal(loc, scale).log_prob(z).sum(-1).exp()
        for weight, loc, scale in zip(prior.logits.softmax(0), prior.locs, scales, strict=True)
    ]
    torch.testing.assert_close(prior().log_prob(z).exp(), sum(parts))
    torch.testing.assert_close(prior.responsibilities(z), torch.stack(parts, -1) / sum(parts).unsqueeze(-1))


def test_mixture_precision_is_the_hessian_and_the_spread_of_scores_between_components():
    prior, z = uneven_mixture(), torch.randn(2).double()
    hessian = -torch.func.hessian(lambda value: prior().log_prob(value))(z)
    shares, pulls = prior.responsibilities(z), (prior.locs - z) * (-2 * prior.log_scales).exp()
    between = (pulls * shares.unsqueeze(-1)).T @ pulls - torch.outer(prior.score(z), prior.score(z))
    torch.testing.assert_close(prior.precision(z), hessian + between)


def test_mixture_components_start_apart_with_the_moments_of_the_standard_normal():
    prior = GaussianMixture(2, components=5000)
    assert torch.pdist(GaussianMixture(2).locs).min() > 0.01
    torch.testing.assert_close(prior().mean, torch.zeros(2), rtol=0, atol=0.05)
    torch.testing.assert_close(prior().variance, torch.ones(2), rtol=0, atol=0.05)


def test_one_component_is_a_normal_whose_laplace_posterior_is_that_of_the_standard_normal():
    mixture = GaussianMixture(2, components=1)
    nn.init.zeros_(mixture.locs)
    nn.init.zeros_(mixture.log_scales)
    model, guide = pair(StandardNormal(2), Laplace)
    other = VAE(model.decoder, mixture, model.likelihood)
    same = Laplace(other, guide.encoder)
    same.head = guide.head
    x = torch.rand(4, *SHAPE).round()
    expected, posterior = guide.posterior(x), same.posterior(x)
    torch.testing.assert_close(posterior.mean, expected.mean)
    torch.testing.assert_close(posterior.precision_tril, expected.precision_tril)


@pytest.mark.parametrize("make", [lambda: GaussianMixture(2, components=3), lambda: DefaultCurvature(2, components=3)])
def test_laplace_trains_under_a_mixture(make):
    model, guide = pair(make(), lambda *both: Laplace(*both, updates=1), Gaussian(0.3))
    before = copy.deepcopy(model.prior.state_dict())
    loss, optimizer = ELBO(), torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.02)
    x, losses = torch.rand(32, *SHAPE), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(loss.loss_and_grads(model, guide, x).item())
        assert all(p.grad.isfinite().all() for p in model.prior.parameters())
        optimizer.step()
    assert sum(losses[-5:]) < sum(losses[:5])
    unchanged = [name for name, value in model.prior.state_dict().items() if torch.equal(value, before[name])]
    assert unchanged == ["initialized"]


class DefaultCurvature(GaussianMixture):
    """The mixture with the score and precision that every prior has."""

    score, precision = Prior.score, Prior.precision


def full_mixture():
    prior = GaussianMixture(3, 2, full_covariance=True).double()
    with torch.no_grad():
        prior.off_diagonals.normal_()
        prior.log_scales.normal_(std=0.3)
        prior.logits.normal_()
    return prior


def test_full_covariances_are_those_of_multivariate_normals():
    prior, z = full_mixture(), torch.randn(5, 3).double()
    precisions = prior.precisions()
    each = dist.MultivariateNormal(prior.locs, precision_matrix=precisions)
    expected = dist.MixtureSameFamily(dist.Categorical(logits=prior.logits), each)
    torch.testing.assert_close(prior().log_prob(z), expected.log_prob(z))
    score = torch.func.vmap(torch.func.grad(lambda value: prior().log_prob(value)))(z)
    torch.testing.assert_close(prior.score(z), score)
    shares = prior.responsibilities(z)
    torch.testing.assert_close(prior.precision(z), torch.einsum("nk,kij->nij", shares, precisions))
    index = torch.tensor([1, 0, 1])
    torch.testing.assert_close(prior.components(index).precision_tril, prior.components().precision_tril[index])


def test_components_can_be_set_and_uniform_weights_stay():
    weights, means = torch.tensor([0.2, 0.8]).double(), torch.randn(2, 3).double()
    factor = torch.randn(2, 3, 3).double()
    covariances = factor @ factor.mT + 0.1 * torch.eye(3)
    for full in (True, False):
        for learned in (True, False):
            prior = GaussianMixture(3, 2, learn_weights=learned, full_covariance=full).double()
            prior.set_components(weights, means, covariances)
            expected = covariances if full else torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1))
            torch.testing.assert_close(prior.precisions().inverse(), expected)
            torch.testing.assert_close(prior.locs.detach(), means)
            assert ("logits" in dict(prior.named_parameters())) == learned
            found = weights if learned else torch.full((2,), 0.5).double()
            torch.testing.assert_close(prior.logits.detach().softmax(0), found)
