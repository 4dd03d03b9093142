"""Annealed importance sampling against closed forms: transitions, estimates, bounds from both sides."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import annealing, hmc
from pyro_vaes.evaluate.annealing import annealed_importance_sampling, bidirectional_monte_carlo
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.param_store import isolated
from pyro_vaes.priors import GaussianMixture, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian
from tests.helpers.pyro_models import model_of, outside
from tests.helpers.statistics import standard_error

WIDTH, DATA = 8, 5  # of the linear-Gaussian model's batch
ESTIMATES = [annealed_importance_sampling, bidirectional_monte_carlo]


@pytest.fixture
def linear():
    return LinearGaussian()


def target(linear, leapfrog_steps=10):
    return hmc.Target(linear.vae, linear.x, leapfrog_steps)


def tempered(linear, beta):
    """p(z) p(x | z)^β, normalized."""
    scale = linear.scale / beta**0.5
    precision = torch.eye(linear.latent_dim).double() + linear.weight.T @ linear.weight / scale**2
    mean = (linear.x.flatten(1) - linear.bias) @ linear.weight @ torch.linalg.inv(precision) / scale**2
    return MultivariateNormal(mean, precision_matrix=precision)


# --- transitions --------------------------------------------------------------------------------------------


def test_leapfrog_retraces_its_steps(linear):
    run, start = target(linear), torch.randn(2, DATA, 3).double()
    momentum, step = torch.randn_like(start), 0.05 + torch.rand(2, DATA, 1).double() / 10
    end, final = run.leapfrog(run(start), momentum, 0.7, step)
    assert (end.z - start).norm(dim=-1).min() > 0.1
    back, momentum_back = run.leapfrog(end, -final, 0.7, step)
    torch.testing.assert_close(back.z, start)
    torch.testing.assert_close(momentum_back, -momentum)


def test_leapfrog_preserves_volume(linear):
    run, h = target(linear), 1e-5
    point = torch.randn(DATA, 6).double()
    nudges = h * torch.eye(6).double().unsqueeze(1)  # one chain a direction
    ends = []
    for moved in (point + nudges, point - nudges):
        z, momentum = moved.chunk(2, -1)
        end, final = run.leapfrog(run(z), momentum, 0.7, torch.full((6, DATA, 1), 0.1).double())
        ends.append(torch.cat([end.z, final], -1))
    jacobian = ((ends[0] - ends[1]) / (2 * h)).transpose(0, 1)
    assert (jacobian - torch.eye(6)).abs().amax() > 0.1
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones(DATA).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_transitions_leave_their_density_invariant(linear, beta):
    run, chains, exact = target(linear), 2000, tempered(linear, beta)
    start = run(exact.sample((chains,)))
    state, rates = start, []
    for _ in range(15):
        state, acceptance = run.transition(state, beta, torch.full((DATA,), 0.25).double())
        rates.append(acceptance.mean())
    assert 0.3 < torch.stack(rates).mean() < 0.99, "the test says nothing"
    white = (state.z - exact.mean) @ torch.linalg.cholesky(exact.precision_matrix[0])
    correlation = (white * ((start.z - exact.mean) @ torch.linalg.cholesky(exact.precision_matrix[0]))).mean()
    assert abs(correlation) < 0.1, "the chains have not moved"
    products = torch.einsum("sbi,sbj->sbij", white, white)  # of expectation I
    for value, expected in ((white, 0.0), (products, torch.eye(3).double())):
        errors = (value.mean(0) - expected) / (value.std(0) / chains**0.5)
        assert errors.abs().max() < 4  # the largest of 15 and of 45
    kept = run(state.z)
    for mine, fresh in zip(state, kept, strict=True):
        torch.testing.assert_close(mine, fresh)


# --- estimates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chains", "steps"), [(2000, 12), (200, 40)], ids=["many short", "few long"])
def test_estimate_is_within_its_error_of_the_evidence(linear, chains, steps):
    estimate = annealed_importance_sampling(linear.vae, linear.x, chains, steps)
    errors = standard_error(estimate.log_weights)
    assert errors.max() < 0.2, "the test says nothing"
    assert ((estimate.per_datum - linear.log_evidence).abs() < 3 * errors).all()
    assert estimate.log_weights.shape == (chains, DATA)
    assert (estimate.acceptance > 0.4).all()
    assert estimate.mean == pytest.approx(estimate.per_datum.mean().item())
    assert estimate.stderr == pytest.approx(estimate.per_datum.std().item() / DATA**0.5)
    assert f"{chains} chains of {steps} temperatures for each of {DATA} observations" in estimate.describe()
    assert list(pyro.get_param_store()) == []


def test_acceptance_nears_its_target(linear):
    estimate = annealed_importance_sampling(linear.vae, linear.x, num_chains=64, num_steps=100, leapfrog_steps=3)
    assert (estimate.acceptance - hmc.ACCEPTANCE).abs().max() < 0.1


def test_a_mixture_prior(linear):
    prior = GaussianMixture(3, components=2).double()
    with torch.no_grad():
        prior.locs.mul_(2)
        prior.logits.copy_(torch.tensor([0.3, -0.5]))
    estimate = annealed_importance_sampling(
        VAE(linear.vae.decoder, prior, linear.vae.likelihood), linear.x, num_chains=600, num_steps=25
    )
    weight, noise = linear.weight, linear.scale**2 * torch.eye(WIDTH).double()
    covariances = [weight @ scale.exp().square().diag() @ weight.T + noise for scale in prior.log_scales]
    components = MultivariateNormal(prior.locs @ weight.T + linear.bias, torch.stack(covariances))
    log_probs = components.log_prob(linear.x.flatten(1).unsqueeze(1)) + prior.logits.log_softmax(0)
    errors = standard_error(estimate.log_weights)
    assert errors.max() < 0.3, "the test says nothing"
    assert ((estimate.per_datum - log_probs.logsumexp(1).detach()).abs() < 3 * errors).all()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_chain_from_a_draw_that_overflows_has_no_weight(linear, monkeypatch, value):
    draw = hmc.Target.prior_draws

    def overflowing(self, num_chains):
        z = draw(self, num_chains).clone()
        z[::4, :, 1] = value
        return z

    monkeypatch.setattr(hmc.Target, "prior_draws", overflowing)
    estimate = annealed_importance_sampling(linear.vae, linear.x, num_chains=200, num_steps=25)
    assert (estimate.log_weights[::4] == -math.inf).all()
    errors = estimate.log_weights.exp().std(0) / estimate.log_weights.exp().mean(0) / 200**0.5
    assert ((estimate.per_datum - linear.log_evidence - math.log(0.75)).abs() < 4 * errors).all()


def chain_of_latents(x):
    shift = pyro.param("shift", torch.tensor(1.0))
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(shift, 1.0))
        low = pyro.sample("low", dist.Normal(top.unsqueeze(-1), torch.tensor([0.5, 2.0])).to_event(1))
        pyro.sample("x", dist.Normal(low, 0.5).to_event(1), obs=x)


def test_a_users_own_model_of_several_latents():
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 4.0]])
    covariance = torch.ones(2, 2) + torch.tensor([0.5, 4.25]).diag()
    estimate = annealed_importance_sampling(chain_of_latents, x, num_chains=400, num_steps=25)
    expected = MultivariateNormal(torch.ones(2), covariance).log_prob(x)
    errors = standard_error(estimate.log_weights)
    assert errors.max() < 0.1, "the test says nothing"
    assert ((estimate.per_datum - expected).abs() < 3 * errors).all()
    assert list(pyro.get_param_store()) == []


def test_values_of_the_store_count_and_stay():
    pyro.param("shift", torch.tensor(3.0))
    bounds = bidirectional_monte_carlo(chain_of_latents, torch.zeros(200, 2), num_chains=1, num_steps=2)
    assert (bounds.x.mean(0) - 3).abs().max() < 4 * (5.25 / 200) ** 0.5
    assert pyro.param("shift").item() == 3
    assert list(pyro.get_param_store()) == ["shift"]


@pytest.mark.parametrize(("values", "passes"), [(2**21, 1), (2 * 100 * WIDTH, 3), (1, 5)])
def test_few_data_at_a_time(linear, monkeypatch, values, passes):
    monkeypatch.setattr(annealing, "CHUNK_VALUES", values)
    sizes, run = [], annealing.anneal
    monkeypatch.setattr(annealing, "anneal", lambda target, *args: sizes.append(len(target.x)) or run(target, *args))
    estimate = annealed_importance_sampling(linear.vae, linear.x, num_chains=100, num_steps=10)
    assert len(sizes) == passes
    assert ((estimate.per_datum - linear.log_evidence).abs() < 4 * standard_error(estimate.log_weights)).all()


def test_single_precision_and_one_chain():
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    estimate = annealed_importance_sampling(vae, torch.ones(3, 4), num_chains=1, num_steps=3, leapfrog_steps=1)
    assert estimate.per_datum.isfinite().all()
    assert all(p.grad is None and p.requires_grad for p in vae.parameters())


def test_chains_that_fly_off_stay_where_they_were(linear):
    run = target(linear)
    state = run(torch.randn(4, DATA, 3).double())
    with isolated():
        after, acceptance = run.transition(state, 1.0, torch.full((DATA,), 1e200, dtype=torch.float64))
    assert (acceptance == 0).all()
    assert torch.equal(after.z, state.z)


# --- bounds from both sides ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "apart"), [(3, (2.0, 100.0)), (40, (0.0, 1.0))], ids=["short", "long"])
def test_bounds_hold_the_evidence_between_them(steps, apart):
    linear = LinearGaussian(batch=40)
    bounds = bidirectional_monte_carlo(linear.vae, linear.x, num_steps=steps)
    assert bounds.x.shape == linear.x.shape
    assert not torch.equal(bounds.x, linear.x)
    linear.x = bounds.x
    for excess in (linear.log_evidence - bounds.lower, bounds.upper - linear.log_evidence):
        error = excess.std() / 40**0.5
        assert excess.mean() > -3 * error
        assert error < 0.6
    assert apart[0] < bounds.gap < apart[1]
    assert bounds.gap == pytest.approx((bounds.upper - bounds.lower).mean().item())


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (model_of(dist.Bernoulli(0.5)), "latent 'z' samples Bernoulli"),
        (model_of(dist.Poisson(3.0)), "latent 'z' samples Poisson"),
        (model_of(dist.LogNormal(0.0, 1.0)), "latent 'z' samples LogNormal"),
        (model_of(dist.Uniform(-3.0, 3.0)), "latent 'z' samples Uniform"),
        (outside, "site 'z' has log-densities of shape"),
        (model_of(dist.Normal(0.0, 1.0), observe=False), r"has the sites \['z'\]: expected at least one latent"),
    ],
    ids=["binary", "count", "positive", "interval", "outside", "unobserved"],
)
def test_models_that_cannot_be_annealed_are_refused(estimate, model, words):
    with pytest.raises(InputError, match=words):
        estimate(model, torch.zeros(3, 2))


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize(
    ("x", "sizes", "words"),
    [
        (torch.ones(3, 4), {"num_chains": 0}, "num_chains is 0"),
        (torch.ones(3, 4), {"num_steps": 0}, "num_steps is 0"),
        (torch.ones(3, 4), {"leapfrog_steps": 0}, "leapfrog_steps is 0"),
        (torch.ones(0, 4), {}, "x holds no data"),
        (torch.full((3, 4), 0.5), {}, "Bernoulli needs binary data"),
        (torch.ones(3, 4, dtype=torch.uint8), {}, "x is uint8"),
    ],
    ids=["chains", "steps", "leapfrog", "no data", "gray", "uint8"],
)
def test_input_that_cannot_be_annealed_is_refused(estimate, x, sizes, words):
    vae = VAE(MLPDecoder(2, (4,), hidden=(3,)), StandardNormal(2), Bernoulli())
    with pytest.raises(InputError, match=words):
        estimate(vae, x, **sizes)


def test_two_observations_cannot_be_simulated():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            for name in ("x", "w"):
                pyro.sample(name, dist.Normal(z.unsqueeze(-1), 1.0).expand([*z.shape, 2]).to_event(1), obs=x)

    assert annealed_importance_sampling(model, torch.zeros(3, 2), 2, 2).per_datum.shape == (3,)
    with pytest.raises(InputError, match=r"observes \['w', 'x'\]"):
        bidirectional_monte_carlo(model, torch.zeros(3, 2))
