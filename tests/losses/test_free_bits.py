"""Free bits, hard and soft."""

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_vaes import VAE
from pyro_vaes.distributions.coordinates import coordinate_log_prob
from pyro_vaes.errors import InputError
from pyro_vaes.guides import FullCovariance, InverseAutoregressiveFlow, MeanField
from pyro_vaes.losses import ELBO, FreeBits, SoftFreeBits
from pyro_vaes.priors import AutoregressiveFlow, ConvolutionalFlow, StandardNormal
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


def flow_pair(exact, posterior=False):
    """The exact model under a flow prior with a mean-field guide, or its own prior under a flow posterior."""
    prior = exact.vae.prior if posterior else AutoregressiveFlow(exact.latent_dim, flows=3, hidden=(7,)).double()
    model = VAE(exact.vae.decoder, prior, exact.vae.likelihood)
    make = InverseAutoregressiveFlow if posterior else MeanField
    return model, make(model, exact.encoder).double()


@pytest.mark.parametrize("posterior", [False, True])
@pytest.mark.parametrize("particles", [1, 3])
def test_dimensions_of_flows_are_bounded_at_their_draws(exact, posterior, particles):
    """Terms of each dimension add up to log q - log p, and a bound takes the place of the smaller batch means."""
    model, guide = flow_pair(exact, posterior)
    torch.manual_seed(5)
    plain, terms = ELBO(num_particles=particles).objective(model, guide, exact.x)
    torch.manual_seed(5)
    parts = ELBO(num_particles=particles).parts(model, guide, exact.x)
    q, p, z = parts.posteriors["z"], parts.priors["z"], parts.latents["z"]
    of_q, of_p = coordinate_log_prob(q, z), coordinate_log_prob(p, z)
    torch.testing.assert_close(of_q.sum(-1), q.log_prob(z), rtol=0, atol=1e-10)
    torch.testing.assert_close(of_p.sum(-1), p.log_prob(z), rtol=0, atol=1e-10)
    means = (of_q - of_p).flatten(0, -2).mean(0)
    torch.testing.assert_close(means.sum(), terms["kl"].mean())
    for bound in (means.max().item() + 1, means.median().item()):
        torch.manual_seed(5)
        value, terms = FreeBits(per_dimension=bound, num_particles=particles).objective(model, guide, exact.x)
        torch.testing.assert_close(terms["reconstruction"].mean() - value.mean(), means.clamp_min(bound).sum())
    assert (terms["reconstruction"] - value).mean() > (terms["reconstruction"] - plain).mean()


def test_a_flow_without_weights_has_the_terms_of_the_standard_normal(exact):
    prior = ConvolutionalFlow(4, (4, 1, 1), flows=2, channels=(6,)).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
    z = torch.randn(5, 3, 4).double()
    expected = coordinate_log_prob(StandardNormal(4).double()(), z)
    torch.testing.assert_close(coordinate_log_prob(prior(), z), expected)
    assert expected.shape == z.shape


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
