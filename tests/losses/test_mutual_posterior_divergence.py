"""The MAE loss: pairwise divergences against a double loop, its forms, its limits."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.guides import (
    FullCovariance,
    Householder,
    InverseAutoregressiveFlow,
    Laplace,
    MeanField,
    Mixture,
    SemiAmortized,
)
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.losses import ELBO, MutualPosteriorDivergence
from pyro_vaes.losses import mutual_posterior_divergence as module
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from pyro_vaes.testing import check_loss

SHAPE, BATCH, SIZE = (1, 4, 4), 6, 3
FORMS = ["paper", "code"]
every_form = pytest.mark.parametrize("form", FORMS)


def build(guide=MeanField):
    vae = VAE(MLPDecoder(SIZE, SHAPE, hidden=(8,)), StandardNormal(SIZE), Bernoulli())
    return vae, guide(vae, MLPEncoder(SHAPE, hidden=(8,))), torch.rand(BATCH, *SHAPE).round()


def double_loop(loc, scale):
    """KL of every ordered pair of different data in every dimension, ``(B (B - 1), Z)``."""
    pairs = [(i, j) for i in range(len(loc)) for j in range(len(loc)) if i != j]
    return torch.stack([kl_divergence(Normal(loc[i], scale[i]), Normal(loc[j], scale[j])) for i, j in pairs])


def posteriors(size=BATCH, dims=SIZE):
    return (3 * torch.randn(size, dims) + 5).double(), torch.rand(size, dims).double() + 0.05


@pytest.mark.parametrize(("size", "dims"), [(2, 1), (BATCH, SIZE), (9, 40)])
@pytest.mark.parametrize("chunk", [1, 200, 2**20])
def test_terms_equal_a_double_loop(monkeypatch, size, dims, chunk):
    monkeypatch.setattr(module, "CHUNK_VALUES", chunk)
    loc, scale = posteriors(size, dims)
    kls = double_loop(loc, scale)
    torch.testing.assert_close(module.off_diagonal(module.pairwise_kl(loc, scale)).flatten(), kls.sum(-1))
    torch.testing.assert_close(module.mean_of_softplus(loc, scale), F.softplus(-kls).mean(0).sum())
    torch.testing.assert_close(module.softplus_of_mean(loc, scale), F.softplus(-kls.mean(0)).sum())
    assert module.softplus_of_mean(loc, scale) <= module.mean_of_softplus(loc, scale)


@pytest.mark.parametrize("term", ["mean_of_softplus", "softplus_of_mean", "pairwise_kl"])
def test_gradients_are_right(monkeypatch, term):
    monkeypatch.setattr(module, "CHUNK_VALUES", 1)
    loc, scale = (value.requires_grad_() for value in posteriors(3, 2))
    assert torch.autograd.gradcheck(getattr(module, term), (loc, scale))


def test_matrix_product_is_accurate_in_float32():
    """Narrow posteriors far from 0, where a difference of squares would lose its digits."""
    loc, scale = posteriors(20, 16)
    loc, scale = (loc + 30).float(), (0.05 * scale).float()
    found, exact = module.pairwise_kl(loc, scale), module.pairwise_kl(loc.double(), scale.double()).float()
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5 * exact.mean().item())


@every_form
def test_loss_is_put_together_as_written(form):
    vae, guide, x = build()
    torch.manual_seed(2)
    value, terms = MutualPosteriorDivergence(eta=2.0, gamma=0.3, form=form).objective(vae, guide, x)
    torch.manual_seed(2)
    plain = ELBO().objective(vae, guide, x)[0]
    q = guide.posterior(x).base_dist
    kls = double_loop(q.loc, q.scale)
    diversity = F.softplus(-kls).mean(0).sum() if form == "paper" else F.softplus(-kls.mean(0)).sum()
    torch.testing.assert_close(terms["diversity"], diversity.expand(BATCH))
    torch.testing.assert_close(terms["smoothness"], kls.sum(-1).std().expand(BATCH), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(value, plain - 2 * terms["diversity"] - 0.3 * terms["smoothness"])


@every_form
def test_equal_posteriors_give_the_ceiling(form):
    vae, guide, x = build()
    torch.nn.init.zeros_(guide.head.weight)
    loss = MutualPosteriorDivergence(form=form)
    terms = loss.terms(vae, guide, x)
    torch.testing.assert_close(terms["diversity"], torch.full((BATCH,), SIZE * math.log(2)))
    torch.testing.assert_close(terms["smoothness"], torch.zeros(BATCH), atol=1e-5, rtol=0)
    loss.loss_and_grads(vae, guide, x)
    assert all(p.grad.isfinite().all() for p in guide.parameters())


def test_free_bits_bound_the_kl():
    vae, guide, x = build()
    value, terms = MutualPosteriorDivergence(free_bits=50.0).objective(vae, guide, x)
    torch.testing.assert_close(value, terms["reconstruction"] - 50 - terms["diversity"] - 0.5 * terms["smoothness"])


def test_a_batch_of_one_has_no_pairs():
    vae, guide, x = build()
    loss = MutualPosteriorDivergence()
    terms = loss.terms(vae, guide, x[:1])
    assert terms["diversity"].item() == terms["smoothness"].item() == 0
    assert math.isfinite(loss.loss_and_grads(vae, guide, x[:1]))


@pytest.mark.parametrize("guide", [MeanField, SemiAmortized, InverseAutoregressiveFlow, Householder])
def test_guides_made_of_independent_normals_fit(guide):
    terms = MutualPosteriorDivergence().terms(*build(guide))
    assert terms["diversity"].shape == (BATCH,)
    assert (terms["diversity"] > 0).all()
    assert (terms["diversity"] < SIZE * math.log(2)).all()


@pytest.mark.parametrize("guide", [FullCovariance, Laplace])
def test_other_guides_are_refused(guide):
    with pytest.raises(InputError, match=r"independent normals.*take MeanField"):
        MutualPosteriorDivergence().terms(*build(guide))


def test_a_mixture_is_refused():
    with pytest.raises(InputError):
        MutualPosteriorDivergence().terms(*build(Mixture))


@every_form
def test_contract(form):
    check_loss(lambda: MutualPosteriorDivergence(form=form))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"eta": -1.0}, "eta is -1.0"), ({"gamma": math.inf}, "gamma is inf"), ({"form": "papr"}, "did you mean 'paper'")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        MutualPosteriorDivergence(**arguments)
