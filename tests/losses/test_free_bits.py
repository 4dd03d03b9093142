"""Free bits, hard and soft."""

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_vaes.errors import InputError
from pyro_vaes.guides import FullCovariance, MeanField
from pyro_vaes.losses import ELBO, FreeBits, SoftFreeBits
from pyro_vaes.testing import check_loss
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive


@pytest.fixture
def exact():
    return LinearGaussian()


@pytest.fixture
def guide(exact):
    return exact.set_optimal(MeanField(exact.vae, exact.encoder), inverse_positive(exact.mean_field_scale))


def objective(loss, exact, guide):
    torch.manual_seed(5)
    return loss.objective(exact.vae, guide, exact.x)


def test_a_bound_below_the_kl_changes_nothing(exact, guide):
    plain, terms = objective(ELBO(), exact, guide)
    torch.testing.assert_close(objective(FreeBits(total=0.9 * terms["kl"].mean().item()), exact, guide)[0], plain)
    torch.testing.assert_close(objective(FreeBits(per_dimension=1e-6), exact, guide)[0], plain)


@pytest.mark.parametrize("bound", ["total", "per_latent"])
def test_a_bound_above_the_kl_takes_its_place(exact, guide, bound):
    value, terms = objective(FreeBits(**{bound: 100.0}), exact, guide)
    torch.testing.assert_close(value, terms["reconstruction"] - 100)
    assert (terms["kl"] < 100).all()
    slopes = [
        torch.autograd.grad(each.sum(), [*guide.parameters()], retain_graph=True)
        for each in (value, terms["reconstruction"])
    ]
    for found, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(found, expected)


def test_dimensions_are_bounded_by_their_batch_means(exact, guide):
    q, p = guide.posterior(exact.x), exact.vae.prior()
    means = kl_divergence(q.base_dist, p.base_dist).mean(0)
    bound = means.median().item()
    value, terms = objective(FreeBits(per_dimension=bound), exact, guide)
    bounded = terms["reconstruction"].mean() - value.mean()
    torch.testing.assert_close(bounded, means.clamp_min(bound).sum())
    assert bounded > means.sum()
    particles, terms = objective(FreeBits(per_dimension=bound, num_particles=3), exact, guide)
    torch.testing.assert_close(terms["reconstruction"].mean() - particles.mean(), bounded)


def test_dimensions_need_a_kl_that_is_a_sum(exact):
    guide = FullCovariance(exact.vae, exact.encoder).double()
    with pytest.raises(InputError, match=r"MultivariateNormal.*take a MeanField guide"):
        objective(FreeBits(per_dimension=0.1), exact, guide)


@pytest.mark.parametrize(("ratio", "grown"), [(0.9, 0.9), (1.02, 1.0), (1.2, 1.1), (2.0, 1.1)])
def test_soft_weight_follows_the_kl(exact, guide, ratio, grown):
    """From one half, where the KL is so many times the target."""
    kl = ELBO().terms(exact.vae, guide, exact.x)["kl"].mean().item()
    loss = SoftFreeBits(target=kl / ratio)
    loss.num_steps, loss.weight = 1, torch.tensor(0.5)
    value, terms = objective(loss, exact, guide)
    torch.testing.assert_close(value, terms["reconstruction"] - 0.5 * terms["kl"])
    assert loss.weight.item() == pytest.approx(0.5 * grown)


def test_soft_weight_is_at_most_one_and_rests_in_evaluation(exact, guide):
    loss = SoftFreeBits(target=1e-3)
    loss.loss_and_grads(exact.vae, guide, exact.x)
    assert loss.weight.item() == 1
    loss = SoftFreeBits(target=1e3)
    loss.loss(exact.vae, guide, exact.x)
    assert loss.weight.item() == 1
    loss.loss_and_grads(exact.vae, guide, exact.x)
    assert loss.weight.item() == pytest.approx(0.9)


@pytest.mark.parametrize(
    "loss", [lambda: FreeBits(total=1e-3), lambda: FreeBits(per_dimension=1e-3), lambda: SoftFreeBits(target=2.0)]
)
def test_contract(loss):
    check_loss(loss)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (FreeBits, "needs a bound above 0"),
        (lambda: FreeBits(total=-1.0), "total is -1.0"),
        (lambda: FreeBits(per_latent=float("nan")), "per_latent is nan"),
        (lambda: SoftFreeBits(target=0.0), "target is 0.0"),
    ],
)
def test_bad_bounds_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
