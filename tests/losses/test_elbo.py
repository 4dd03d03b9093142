"""The ELBO: against Pyro's own, its schedules, effect handlers, and users' own models."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO, Loss, Warmup
from tests.helpers.losses import BATCH, GUIDES, build

ANALYTIC = ["MeanField", "FullCovariance"]


@pytest.mark.parametrize("guide", GUIDES)
def test_equals_trace_elbo_in_expectation(guide):
    (vae, guide, x), draws = build(guide), 300
    ours, theirs = (torch.tensor([loss.loss(vae, guide, x) for _ in range(draws)]) for loss in (ELBO(), Trace_ELBO()))
    standard_error = ((ours.var() + theirs.var()) / draws).sqrt()
    assert (ours.mean() - theirs.mean()).abs() < 5 * standard_error


@pytest.mark.parametrize(
    ("guide", "stock"),
    [("MeanField", TraceMeanField_ELBO), ("FullCovariance", TraceMeanField_ELBO), ("Laplace", Trace_ELBO)],
)
def test_equals_pyro_draw_by_draw(guide, stock):
    vae, guide, x = build(guide)
    values, gradients = [], []
    for loss in (ELBO(), stock()):
        torch.manual_seed(4)
        value = loss.differentiable_loss(vae, guide, x)
        values.append(float(value.detach()))
        gradients.append(torch.autograd.grad(value, [*vae.parameters(), *guide.parameters()]))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guide", GUIDES)
def test_vectorised_particles_are_the_mean_of_single_ones(guide):
    (vae, guide, x), draws = build(guide), 400
    with torch.no_grad():
        single = torch.stack([ELBO().objective(vae, guide, x)[0] for _ in range(draws)])
        many, terms = ELBO(num_particles=draws).objective(vae, guide, x)
    assert many.shape == terms["kl"].shape == (BATCH,)
    assert ((many - single.mean(0)).abs() < 5 * single.std(0) * (2 / draws) ** 0.5).all()


@pytest.mark.parametrize("guide", GUIDES)
def test_only_the_closed_form_kl_is_free_of_noise(guide):
    vae, guide_, x = build(guide)
    kl = torch.stack([ELBO().terms(vae, guide_, x)["kl"] for _ in range(5)])
    assert (kl.std(0) == 0).all() == (guide in ANALYTIC)
    assert kl.mean() > 0


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_beta_weighs_the_kl_and_not_the_terms(beta):
    vae, guide, x = build()
    torch.manual_seed(5)
    plain = ELBO().terms(vae, guide, x)
    torch.manual_seed(5)
    objective, terms = ELBO(beta=beta).objective(vae, guide, x)
    torch.testing.assert_close(terms, plain)
    torch.testing.assert_close(objective, plain["reconstruction"] - beta * plain["kl"])


def test_warmup_follows_the_steps_of_svi():
    vae, guide, x = build()
    seen = []
    loss = ELBO(beta=lambda step: seen.append(step) or Warmup(2, start=0.5)(step))
    svi = SVI(vae, guide, Adam({"lr": 1e-3}), loss)
    for _ in range(3):
        svi.step(x)
        svi.evaluate_loss(x)  # reads the schedule, does not advance it
    assert seen == [0, 1, 1, 2, 2, 3]
    assert [Warmup(2, start=0.5)(step) for step in (0, 1, 2, 9)] == [0.5, 0.75, 1.0, 1.0]


def test_warmup_refuses_no_steps():
    with pytest.raises(InputError, match="steps is 0"):
        Warmup(0)


def test_svi_step_returns_the_loss_that_it_descended():
    vae, guide, x = build()
    torch.manual_seed(6)
    expected = ELBO().loss(vae, guide, x)
    torch.manual_seed(6)
    value = SVI(vae, guide, Adam({"lr": 1e-3}), ELBO()).step(x)
    assert isinstance(value, float)
    assert value == pytest.approx(expected)


def test_loss_is_a_module_of_the_pair_as_in_pyro():
    vae, guide, x = build()
    module = ELBO()(vae, guide)
    assert len(list(module.parameters())) == len([*vae.parameters(), *guide.parameters()])
    module(x).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_new_loss_says_what_it_lacks():
    class Mine(Loss):
        """It implements nothing."""

    with pytest.raises(NotImplementedError, match="Mine must implement objective"):
        Mine().terms(*build())


@pytest.mark.parametrize("guide", GUIDES)
def test_scale_is_honoured(guide):
    vae, guide, x = build(guide)
    torch.manual_seed(7)
    plain = ELBO().terms(vae, guide, x)
    torch.manual_seed(7)
    with poutine.scale(scale=2.5):
        scaled = ELBO().terms(vae, guide, x)
    for name, term in scaled.items():
        torch.testing.assert_close(term, 2.5 * plain[name])


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("guide", GUIDES)
def test_mask_is_honoured(guide, particles):
    vae, guide, x = build(guide)
    mask = torch.tensor([True, False, True])
    torch.manual_seed(7)
    plain = ELBO(particles).terms(vae, guide, x)
    torch.manual_seed(7)
    with poutine.mask(mask=mask):
        masked = ELBO(particles).terms(vae, guide, x)
    for name, term in masked.items():
        torch.testing.assert_close(term, plain[name] * mask)


def test_a_users_own_pair_of_functions():
    decoder, encoder = nn.Linear(3, 5), nn.Linear(5, 3)

    def model(x, weight):
        pyro.module("decoder", decoder)
        with pyro.plate("rows", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a.sum(-1), 1.0))
            features = decoder(torch.cat([a, b.unsqueeze(-1)], -1))
            pyro.sample("x", dist.Normal(weight * features, 1.0).to_event(1), obs=x)

    def guide(x, weight):
        pyro.module("encoder", encoder)
        loc = encoder(x)
        with pyro.plate("rows", len(x)):
            pyro.sample("a", dist.Normal(loc[:, :2], 0.5).to_event(1))
            pyro.sample("b", dist.Normal(loc[:, 2], 0.5))

    x = torch.randn(BATCH, 5)
    terms = ELBO(num_particles=2).terms(model, guide, x, 0.5)
    assert set(terms) == {"reconstruction", "kl", "kl_a", "kl_b"}
    assert all(term.shape == (BATCH,) for term in terms.values())
    torch.testing.assert_close(terms["kl"], terms["kl_a"] + terms["kl_b"])
    before = encoder.weight.detach().clone()
    svi = SVI(model, guide, Adam({"lr": 1e-2}), ELBO())
    svi.step(x, 0.5)
    assert not torch.equal(encoder.weight, before)
