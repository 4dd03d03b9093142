"""Approximation and amortization gaps against closed forms, and for every guide."""

import copy

import pyro
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_vaes import VAE, guides
from pyro_vaes.evaluate import gaps
from pyro_vaes.evaluate.gaps import InferenceGaps, inference_gaps
from pyro_vaes.evaluate.marginal.estimate import marginal_log_likelihood
from pyro_vaes.guides import MeanField, Mixture
from pyro_vaes.guides.mixture import recursive_log_weights
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.positive import positive
from pyro_vaes.priors import VampPrior
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive
from tests.helpers.vectors import small

DATA = 40
EXACT = 0.01  # nats


class Users(nn.Module):
    """A guide that is none of the library's, around one that is."""

    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def forward(self, x):
        pyro.module("users", self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.guide.posterior(x))


@pytest.fixture
def linear():
    return LinearGaussian(batch=DATA)


@pytest.fixture
def best(linear):
    """The best independent normals."""
    return linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(linear.mean_field_scale))


@torch.no_grad()
def perturb(guide, shift=0.0, widen=0.0):
    """Move the means by a share of the scales, and the raw scales; gives the guide."""
    mean, raw_scale = guide.head.bias.chunk(2)
    mean += shift * positive(raw_scale)
    raw_scale += widen
    return guide


@torch.no_grad()
def exact_gap(linear, guide):
    """log p(x) - ELBO in closed form."""
    q = guide.posterior(linear.x)
    dense = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return kl_divergence(dense, MultivariateNormal(linear.mean, linear.covariance))


# --- closed forms -------------------------------------------------------------------------------------------


# A mean over the data of log weights of variance about 2 has a standard error of (2 / 40 / 10000)^0.5 = 0.002.
def test_exact_means_leave_the_mean_field_gap(linear, best):
    result = inference_gaps(linear.vae, best, linear.x, num_samples=10_000, num_steps=100)
    assert result.approximation_gap.mean() == pytest.approx(linear.mean_field_gap.item(), abs=EXACT)
    assert linear.mean_field_gap > 10 * EXACT
    assert (result.amortization_gap < EXACT).all()
    assert result.log_likelihood.mean() == pytest.approx(linear.log_evidence.mean().item(), abs=EXACT)


@pytest.mark.parametrize(("shift", "widen"), [(0.8, 0.0), (0.0, 0.6), (-0.5, -0.4)])
def test_a_perturbed_encoder_loses_what_the_kl_says(linear, best, shift, widen):
    guide = perturb(best, shift, widen)
    result = inference_gaps(linear.vae, guide, linear.x, num_samples=10_000)
    expected = (exact_gap(linear, guide) - linear.mean_field_gap).mean().item()
    assert expected > 5 * EXACT
    assert result.amortization_gap.mean() == pytest.approx(expected, abs=EXACT)
    assert result.approximation_gap.mean() == pytest.approx(linear.mean_field_gap.item(), abs=EXACT)


def test_the_noise_of_refinement_is_no_approximation_gap(linear, best):
    guide = guides.SemiAmortized(linear.vae, copy.deepcopy(best.encoder), steps=3, lr=0.1).double()
    guide.start_from(best)
    result = inference_gaps(linear.vae, guide, linear.x, num_samples=10_000, num_steps=300)
    assert result.approximation_gap.mean() == pytest.approx(linear.mean_field_gap.item(), abs=EXACT)
    assert result.amortization_gap.mean() > 5 * EXACT


def test_laplace_has_no_gap(linear):
    guide = linear.exact_guide()
    result = inference_gaps(linear.vae, guide, linear.x, num_samples=50, num_steps=20)
    for values in (result.approximation_gap, result.amortization_gap):
        torch.testing.assert_close(values, torch.zeros(DATA).double(), rtol=0, atol=1e-8)
    torch.testing.assert_close(result.log_likelihood, linear.log_evidence)


def test_both_ways_to_fit_agree(linear, best):
    guide, few = perturb(best, 0.7, 0.5), linear.x[:3]
    free = inference_gaps(linear.vae, guide, few, num_samples=5000, num_steps=150)
    whole = inference_gaps(linear.vae, Users(guide), few, num_samples=5000, num_steps=150)
    assert free.amortization_gap.mean() > 0.5
    error = 2 * exact_gap(linear, guide).mean().sqrt() / (3 * 5000) ** 0.5
    assert abs(free.amortization_gap.mean() - whole.amortization_gap.mean()) < 4 * error
    assert list(pyro.get_param_store()) == []


def test_single_precision_finds_the_same(linear, best):
    guide = perturb(best, 0.7, 0.5)
    torch.manual_seed(3)
    double = inference_gaps(linear.vae, guide, linear.x, num_samples=4000, num_steps=200)
    torch.manual_seed(3)
    single = inference_gaps(linear.vae.float(), guide.float(), linear.x.float(), num_samples=4000, num_steps=200)
    assert abs(double.amortization_gap.mean() - single.amortization_gap.mean()) < 0.05


# --- how it is found ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", guides.__all__)
def test_every_guide(name):
    vae, guide, x = small(getattr(guides, name))
    guide.loss = "not asked for"
    before = [p.clone() for p in (*vae.parameters(), *guide.parameters())]
    result = inference_gaps(vae, guide, x, num_samples=30, num_steps=10)
    assert all(values.shape == (4,) and values.isfinite().all() for values in (result.gap, result.guide_pareto_k))
    assert (result.amortization_gap >= 0).all()
    assert result.amortization_gap.max() > 0
    torch.testing.assert_close(result.gap, result.approximation_gap + result.amortization_gap)
    after = [*vae.parameters(), *guide.parameters()]
    assert all(torch.equal(old, new) and new.grad is None for old, new in zip(before, after, strict=True))
    hooked = [m for m in (*vae.modules(), *guide.modules()) if m._forward_hooks or m._forward_pre_hooks]
    assert hooked == []
    assert list(pyro.get_param_store()) == []


def test_all_parts_of_a_mixture_are_set_free():
    _, guide, x = small(Mixture, components=3)
    parameters = guide.local_parameters(x)
    assert [tuple(each.shape) for each in parameters] == [(4, 3, 2)] * 2 + [(4, 2)]
    moved = guide.with_local_parameters(tuple(each + 1 for each in parameters)).posterior(x)
    locs, raw_scales, gates = parameters
    torch.testing.assert_close(moved.locs, locs + 1)
    torch.testing.assert_close(moved.scales, positive(raw_scales + 1))
    torch.testing.assert_close(moved.logits, recursive_log_weights(gates + 1))
    torch.testing.assert_close(guide.local_parameters(x), parameters, rtol=0, atol=0)


def test_a_prior_made_of_posteriors_stays_as_it_is():
    vae = VAE(MLPDecoder(2, (6,), hidden=(5,)), VampPrior(2, components=4), Bernoulli())
    guide = MeanField(vae, MLPEncoder((6,), hidden=(5,)))
    x, z = torch.rand(4, 6).round(), torch.randn(4, 2)  # as many data as pseudo-inputs
    before, mean = vae.prior().log_prob(z), guide.posterior(x).mean
    member = guide.with_local_parameters(tuple(each + 1 for each in guide.local_parameters(x)))
    torch.testing.assert_close(member.posterior(x).mean, mean + 1)
    assert torch.equal(vae.prior().log_prob(z), before)
    assert member.vae is vae
    assert (inference_gaps(vae, guide, x, num_samples=30, num_steps=10).amortization_gap >= 0).all()


@pytest.mark.parametrize("values", [2**21, 3 * 8 * 6, 1], ids=["whole", "three data", "least"])
def test_each_datum_keeps_its_own_optimum(monkeypatch, values):
    linear = LinearGaussian(batch=5, event_shape=(6,))
    guide = perturb(
        linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(linear.mean_field_scale)), 2.0
    )
    monkeypatch.setattr(gaps, "CHUNK_VALUES", values)
    result = inference_gaps(linear.vae, guide, linear.x, num_samples=200, num_steps=100)
    weight_error = (2 * exact_gap(linear, guide) / 200).sqrt()
    lost = exact_gap(linear, guide) - linear.mean_field_gap
    assert ((result.amortization_gap - lost).abs() < 4 * weight_error + 0.1).all()


def test_a_users_guide_that_holds_the_model_leaves_it_alone():
    vae, guide, x = small()

    class Holding(Users):
        def __init__(self):
            super().__init__(guide)
            self.model = vae

        def forward(self, x):
            self.model.decoder(torch.zeros(1, 2))
            return super().forward(x)

    before = [p.clone() for p in vae.parameters()]
    result = inference_gaps(vae, Holding(), x, num_samples=30, num_steps=10)
    assert result.amortization_gap.max() > 0
    assert all(torch.equal(old, new) for old, new in zip(before, vae.parameters(), strict=True))


def test_torch_draws_on_as_seeded():
    vae, guide, x = small()
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append((inference_gaps(vae, guide, x, num_samples=30, num_steps=5).gap, torch.rand(3)))
    (first, next_draw), (second, again) = results
    assert torch.equal(first, second)
    assert torch.equal(next_draw, again)


def test_log_likelihood_is_the_models_whatever_the_guide():
    """A guide far off has the same log p(x) as the best one, and a gap that says how far off it is."""
    linear = LinearGaussian(batch=DATA)
    best = linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(linear.mean_field_scale))
    off = perturb(copy.deepcopy(best), shift=8.0)
    for guide in (best, off):
        result = inference_gaps(linear.vae, guide, linear.x, num_samples=100, num_steps=5)
        torch.testing.assert_close(result.log_likelihood, linear.log_evidence, rtol=0, atol=1e-6)
        assert result.unreliable == 0
    assert result.guide_unreliable > 0.9
    assert result.gap.mean() == pytest.approx(exact_gap(linear, off).mean().item(), rel=0.2)


def test_an_estimate_of_log_likelihood_can_be_given():
    vae, guide, x = small()
    given = marginal_log_likelihood(vae, x, seed=3)
    result = inference_gaps(vae, guide, x, num_samples=30, num_steps=5, log_likelihood=given)
    assert torch.equal(result.log_likelihood, given.per_datum)
    assert torch.equal(result.pareto_k, given.pareto_k)
    with_one_draw = inference_gaps(vae, guide, x, num_samples=1, num_steps=5, log_likelihood=given)
    assert with_one_draw.gap.isfinite().all()
    assert with_one_draw.guide_pareto_k.isnan().all()


def test_figures_of_a_result():
    zeros = torch.zeros(4)
    values, khat = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0.1, 0.8, torch.nan, 0.7])
    result = InferenceGaps(values, values - 3, values - 2, torch.tensor([0.1, 0.8, 0.9, 0.7]), khat, 10)
    assert torch.equal(result.approximation_gap, zeros + 2)
    assert torch.equal(result.amortization_gap, zeros + 1)
    assert result.unreliable == 1 / 2
    assert result.guide_unreliable == pytest.approx(1 / 3)
    assert result.summary()["log_likelihood"] == pytest.approx((4, (38 / 3) ** 0.5 / 2))
    assert result.summary()["gap"] == (3, 0)
    unknown = InferenceGaps(values, values, values, zeros, zeros * torch.nan, 10).guide_unreliable
    assert unknown != unknown  # NaN: unknown, not 0 %


def test_real_data_of_a_gaussian():
    vae, guide, _ = small(likelihood=Gaussian)
    assert inference_gaps(vae, guide, torch.rand(3, 6), num_samples=30, num_steps=5).gap.isfinite().all()
