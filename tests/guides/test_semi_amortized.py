"""The semi-amortized guide, on the linear-Gaussian model, where its optimum has a closed form."""

import pyro
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_vaes import VAE
from pyro_vaes.guides import MeanField, SemiAmortized
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import Prior, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian


@pytest.fixture
def linear():
    return LinearGaussian(batch=40)


@pytest.fixture
def _no_noise(monkeypatch):
    """Every step's draw is its mean, so that the objective of all steps is one function."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


def build(linear, **options):
    guide = SemiAmortized(linear.vae, linear.encoder, **options).double()
    torch.manual_seed(0)
    for p in guide.head.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return guide


def gap(linear, q):
    """log p(x) - ELBO of an independent normal, per datum, in closed form."""
    dense = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return kl_divergence(dense, MultivariateNormal(linear.mean, linear.covariance))


# --- it ascends ---------------------------------------------------------------------------------------------


def test_steps_reach_the_best_mean_field_elbo(linear):
    gaps = []
    for steps, lr in [(0, 0.01), (100, 0.01), (600, 0.003)]:
        with torch.no_grad():
            gaps.append(gap(linear, build(linear, steps=steps, lr=lr).posterior(linear.x)))
    start, some, many = gaps
    assert (some < start).all()
    assert start.mean() > 20
    assert some.mean() < 3
    excess = many - linear.mean_field_gap
    assert (excess > -1e-9).all()
    assert excess.mean() < 0.3


@pytest.mark.usefixtures("_no_noise")
def test_with_one_draw_held_no_step_lowers_that_objective(linear):
    def objective(steps):
        guide = build(linear, steps=steps, lr=0.01, momentum=0.0)
        with torch.no_grad():
            q = guide.posterior(linear.x)
            reconstruction = linear.vae.likelihood(linear.vae.decoder(q.mean)).log_prob(linear.x)
            return reconstruction - kl_divergence(q, linear.vae.prior())

    values = torch.stack([objective(steps) for steps in range(12)])
    assert (values.diff(dim=0) > 0).all()


@pytest.mark.usefixtures("_no_noise")
def test_two_steps_equal_their_formula(linear):
    lr, momentum, clip = 0.03, 0.6, 40.0
    guide = build(linear, steps=2, lr=lr, momentum=momentum, clip=clip)
    raw = guide.head(guide.encoder(linear.x)).detach()
    velocity, clipped = torch.zeros_like(raw), []
    for _ in range(2):
        rows = []
        for datum, row in zip(linear.x, raw, strict=True):
            row = row.clone().requires_grad_()
            mean, scale = row[:3], torch.nn.functional.softplus(row[3:]) + 1e-4
            kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum()
            elbo = linear.vae.likelihood(linear.vae.decoder(mean[None])).log_prob(datum[None]).sum() - kl
            gradient = torch.autograd.grad(elbo, row)[0]
            clipped.append(bool(gradient.norm() > clip))
            rows.append(gradient * min(1.0, clip / gradient.norm().item()))
        velocity = momentum * velocity + torch.stack(rows)
        raw = raw + lr * velocity
    assert any(clipped)
    assert not all(clipped)
    q = guide.posterior(linear.x)
    torch.testing.assert_close(q.mean, raw[:, :3])
    torch.testing.assert_close(q.stddev, torch.nn.functional.softplus(raw[:, 3:]) + 1e-4)


def test_no_steps_are_mean_field(linear):
    guide, mean_field = build(linear, steps=0), MeanField(linear.vae, linear.encoder)
    mean_field.head = guide.head
    assert torch.equal(guide.posterior(linear.x).mean, mean_field.posterior(linear.x).mean)


@pytest.mark.usefixtures("_no_noise")
def test_a_step_does_not_depend_on_the_batch(linear):
    guide = build(linear, steps=3, lr=0.01)
    whole, alone = guide.posterior(linear.x), guide.posterior(linear.x[7:8])
    torch.testing.assert_close(whole.mean[7:8], alone.mean)
    torch.testing.assert_close(whole.stddev[7:8], alone.stddev)


def test_noise_is_fresh_at_each_step_and_datum(linear, monkeypatch):
    drawn, real = [], torch.randn_like

    def spy(like):
        drawn.append(real(like))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn_like", spy)
    build(linear, steps=3, lr=0.01).posterior(linear.x)
    assert len(drawn) == 3
    assert torch.stack(drawn).unique().numel() == 3 * drawn[0].numel()


def test_a_prior_without_closed_form_kl_is_ascended_too(linear):
    class Unregistered(Prior):
        """A standard normal whose KL torch does not know."""

        def forward(self):
            return pyro.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()).mask(True)

    with pytest.raises(NotImplementedError):
        kl_divergence(MeanField(linear.vae, linear.encoder).double().posterior(linear.x), Unregistered(3)())
    vae = VAE(linear.vae.decoder, Unregistered(3), linear.vae.likelihood)
    guide = SemiAmortized(vae, linear.encoder, steps=100, lr=0.01).double()
    assert gap(linear, guide.posterior(linear.x)).mean() < 3


# --- gradients ----------------------------------------------------------------------------------------------


def objective(guide, x):
    """The ELBO at the refined posterior's mean: no noise but that of the steps."""
    q = guide.posterior(x)
    reconstruction = guide.vae.likelihood(guide.vae.decoder(q.mean)).log_prob(x)
    return (reconstruction - kl_divergence(q, guide.vae.prior())).sum()


@pytest.fixture
def small():
    vae = VAE(MLPDecoder(2, (5,), hidden=(6,), activation=torch.nn.Tanh), StandardNormal(2), Gaussian(0.5)).double()
    encoder = MLPEncoder((5,), hidden=(4,))
    return vae, encoder, torch.randn(3, 5).double()


@pytest.mark.usefixtures("_no_noise")
@pytest.mark.parametrize("clip", [5.0, 0.5])
def test_gradients_through_the_steps_equal_finite_differences(small, clip):
    vae, encoder, x = small
    guide = SemiAmortized(vae, encoder, steps=3, lr=0.2, clip=clip).double()
    for p in (guide.head.weight, vae.decoder[0].weight, vae.likelihood.log_scale):
        gradient = torch.autograd.grad(objective(guide, x), p)[0].flatten()
        flat = p.data.view(-1)
        for i in range(0, len(flat), 3):
            values = []
            for shift in (1e-5, -2e-5):
                flat[i] += shift
                values.append(objective(guide, x).item())
            flat[i] += 1e-5
            assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[i].item(), rel=1e-4, abs=1e-6)


@pytest.mark.usefixtures("_no_noise")
def test_stopped_gradients_are_those_at_the_refined_parameters(small):
    vae, encoder, x = small
    through, stopped = (SemiAmortized(vae, encoder, steps=3, lr=0.2, stop_gradients=stop) for stop in (False, True))
    through.head = stopped.head
    for guide in (through, stopped):
        guide.double()
    torch.testing.assert_close(through.posterior(x).mean, stopped.posterior(x).mean)
    biases = [torch.autograd.grad(objective(guide, x), guide.head.bias)[0] for guide in (through, stopped)]
    start = stopped.head(encoder(x)).detach()
    q = stopped.posterior(x)
    raw_scale = torch.expm1(q.stddev - 1e-4).log()
    refined = torch.cat([q.mean, raw_scale], -1).detach()
    assert (refined - start).abs().min() > 0
    free = refined.requires_grad_()
    moved = MeanField(vae, encoder).double().with_local_parameters((free,)).posterior(x)
    elbo = vae.likelihood(vae.decoder(moved.mean)).log_prob(x) - kl_divergence(moved, vae.prior())
    torch.testing.assert_close(biases[1], torch.autograd.grad(elbo.sum(), free)[0].sum(0))
    assert not torch.allclose(*biases)


@pytest.mark.parametrize("validate", [False, True])
def test_it_works_without_gradients_and_without_validation(linear, validate):
    with torch.no_grad(), pyro.validation_enabled(validate):
        guide = build(linear, steps=100, lr=0.01)
        q = guide.posterior(linear.x)
        assert not q.mean.requires_grad
        assert gap(linear, q).mean() < 3
        assert all(p.grad is None for p in [*guide.parameters(), *linear.vae.parameters()])


def test_a_frozen_encoder_still_lets_the_model_learn(small):
    vae, encoder, x = small
    guide = SemiAmortized(vae, encoder, steps=2, lr=0.1).double().requires_grad_(False).eval()
    ELBO().differentiable_loss(vae, guide, x).backward()
    assert all(p.grad is not None for p in vae.parameters())
    assert all(p.grad is None for p in guide.parameters())


def test_a_gradient_of_zero_has_finite_second_derivatives(linear):
    guide = build(linear, steps=2, lr=0.01)
    with torch.no_grad():
        linear.vae.decoder[0].weight.zero_()
        guide.head.weight.zero_()
        guide.head.bias.copy_(torch.tensor([0.0] * 3 + [0.5413] * 3))
    loss = ELBO().differentiable_loss(linear.vae, guide, linear.x)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in [*guide.parameters(), *linear.vae.parameters()] if p.grad is not None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "steps is -1"),
        ({"steps": 1.5}, "whole number"),
        ({"lr": 0}, "lr is 0"),
        ({"clip": -1.0}, "clip is -1"),
        ({"momentum": 1.0}, "momentum is 1.0"),
    ],
)
def test_options_are_checked(linear, options, words):
    with pytest.raises(ValueError, match=words):
        SemiAmortized(linear.vae, linear.encoder, **options)
