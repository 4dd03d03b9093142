"""Missing values: exact posteriors and evidence, the doors that take a mask, stock Pyro, and what is refused."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.optim import Adam

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import (
    annealed_importance_sampling,
    inference_gaps,
    log_likelihood,
    log_weights,
    marginal_log_likelihood,
    posterior_mean,
)
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.likelihoods import Bernoulli, PixelCNN
from pyro_vaes.losses import ELBO
from pyro_vaes.missing import fill_mean, hide, missing_values, nan_is_missing, seen
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from pyro_vaes.testing.pairs import pair
from tests.helpers.linear_gaussian import LinearGaussian, optimal_mean_field


@pytest.fixture
def linear():
    return LinearGaussian()


@pytest.fixture
def mask(linear):
    return torch.rand(linear.x.shape) < 0.6


def part(linear, mask, n):
    """Weight and bias of the pixels seen of a datum, and these pixels."""
    where = mask[n].flatten()
    return linear.weight[where], linear.bias[where], linear.x[n].flatten()[where]


def exact(linear, mask):
    """Mean, covariance and evidence of each datum, given what was seen of it."""
    results = []
    for n in range(len(linear.x)):
        weight, bias, x = part(linear, mask, n)
        covariance = torch.linalg.inv(torch.eye(linear.latent_dim).double() + weight.T @ weight / linear.scale**2)
        noise = linear.scale**2 * torch.eye(len(bias)).double()
        evidence = torch.distributions.MultivariateNormal(bias, weight @ weight.T + noise).log_prob(x)
        results.append((covariance @ weight.T @ (x - bias) / linear.scale**2, covariance, evidence))
    return [torch.stack(each) for each in zip(*results, strict=True)]


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_laplace_is_the_posterior_given_what_was_seen(linear, mask, start):
    guide = linear.exact_guide()
    guide.head.bias.data.fill_(start)
    with missing_values():
        q = guide.posterior(hide(linear.x, mask))
    mean, covariance, _ = exact(linear, mask)
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.covariance_matrix, covariance)
    torch.testing.assert_close(posterior_mean(guide, linear.x, mask=mask), mean)


def test_the_evidence_is_that_of_what_was_seen(linear, mask):
    *_, evidence = exact(linear, mask)
    guide = linear.exact_guide()
    weights = log_weights(linear.vae, guide, linear.x, 3, mask=mask)
    torch.testing.assert_close(weights, evidence.expand(3, -1))
    bound = log_likelihood(linear.vae, guide, linear.x, 30, mask=mask)
    torch.testing.assert_close(bound.elbo, evidence)
    marginal = marginal_log_likelihood(linear.vae, linear.x, mask=mask)
    torch.testing.assert_close(marginal.per_datum, evidence, rtol=0, atol=1e-6)
    gaps = inference_gaps(linear.vae, guide, linear.x, 20, 2, mask=mask)
    torch.testing.assert_close(gaps.gap, torch.zeros(5).double(), rtol=0, atol=1e-5)
    annealed = annealed_importance_sampling(linear.vae, linear.x, 50, 100, mask=mask)
    torch.testing.assert_close(annealed.per_datum, evidence, rtol=0, atol=0.5)


def test_the_elbo_of_a_mean_field_guide_is_exact(linear, mask):
    """E_q[log p(x_seen | z)] - KL in closed form."""
    guide = optimal_mean_field(linear)
    with missing_values():
        q = guide.posterior(hide(linear.x, mask))
    expected = []
    for n in range(len(linear.x)):
        weight, bias, x = part(linear, mask, n)
        squares = (x - bias - weight @ q.mean[n]).square() + weight.square() @ q.variance[n]
        normal = -0.5 * (squares / linear.scale**2 + (2 * torch.pi * linear.scale**2).log())
        kl = 0.5 * (q.mean[n].square() + q.variance[n] - 1 - q.variance[n].log())
        expected.append(normal.sum() - kl.sum())
    loss, draws = ELBO(num_particles=20_000), []
    with torch.no_grad(), seen(linear.x, mask) as x:
        draws = loss.objective(linear.vae, guide, x)[0]
    torch.testing.assert_close(draws, torch.stack(expected), rtol=0, atol=0.15)


def test_stock_svi_gives_the_same_loss_and_gradients(linear, mask):
    guide = optimal_mean_field(linear)
    weights = [*linear.vae.parameters(), *guide.parameters()]
    results = []
    for loss, given in ((ELBO(sticking_the_landing=False), (linear.x, mask)), (Trace_ELBO(), (linear.x, mask))):
        guide.analytic_kl = False
        svi = SVI(linear.vae, guide, Adam({"lr": 0.0}), loss)
        torch.manual_seed(0)
        value = float(svi.evaluate_loss(given[0], mask=given[1]))
        torch.manual_seed(0)
        assert float(svi.step(given[0], mask=given[1])) == pytest.approx(value)
        results.append(value)
    assert results[0] == pytest.approx(results[1])
    torch.manual_seed(0)
    with missing_values():
        objective, _ = ELBO().objective(linear.vae, guide, hide(linear.x, mask))
    assert -objective.sum().item() == pytest.approx(results[0])
    assert all(weight.isfinite().all() for weight in weights)


def test_conditioned_traces_have_the_log_joint_of_what_was_seen(linear, mask):
    z = linear.vae.sample_latents(len(linear.x))[0]
    trace = poutine.trace(poutine.condition(linear.vae, data={"z": z})).get_trace(linear.x, mask=mask)
    with missing_values():
        expected = linear.vae.log_joint(hide(linear.x, mask), z)
    assert trace.log_prob_sum().item() == pytest.approx(expected.sum().item())
    *_, evidence = exact(linear, mask)
    q = poutine.trace(linear.exact_guide()).get_trace(linear.x, mask=mask)
    p = poutine.trace(poutine.replay(linear.vae, trace=q)).get_trace(linear.x, mask=mask)
    assert (p.log_prob_sum() - q.log_prob_sum()).item() == pytest.approx(evidence.sum().item())


def test_predictive_draws_from_the_guide_given_what_was_seen(linear, mask):
    mean, covariance, _ = exact(linear, mask)
    predictive = Predictive(linear.vae, guide=linear.exact_guide(), num_samples=2000, parallel=True, return_sites=["z"])
    with torch.no_grad():
        z = predictive(linear.x, mask=mask)["z"]
    error = (z.mean(0) - mean) / (covariance.diagonal(dim1=-2, dim2=-1) / 2000).sqrt()
    assert error.abs().max() < 4


def test_complete_data_are_computed_as_without_the_context(linear):
    """Another path with the same figures, which is what the context decides."""
    z = torch.randn(7, 5, linear.latent_dim).double()
    plain, guide = linear.vae.log_joint(linear.x, z), linear.exact_guide()
    with missing_values():
        torch.testing.assert_close(linear.vae.log_joint(linear.x, z), plain)
        torch.testing.assert_close(guide.posterior(linear.x).mean, linear.mean)
    full = torch.ones_like(linear.x, dtype=torch.bool)
    torch.testing.assert_close(log_weights(linear.vae, guide, linear.x, 2, mask=full)[0], linear.log_evidence)


def test_the_declaration_ends_with_its_block():
    with missing_values():
        assert nan_is_missing()
        with missing_values(False):
            assert not nan_is_missing()
        assert nan_is_missing()
    assert not nan_is_missing()


def test_what_nobody_declared_stays_an_error(linear, mask):
    x, guide = hide(linear.x, mask), optimal_mean_field(linear)
    for call in (lambda: log_weights(linear.vae, guide, x, 2), lambda: posterior_mean(guide, x)):
        with pytest.raises(InputError, match=r"\] is nan: every value must be finite; if NaN .*, give mask=~x\.isnan"):
            call()
    with pytest.raises(ValueError, match="Expected"), pyro.validation_enabled(True):
        SVI(linear.vae, guide, Adam({}), Trace_ELBO()).step(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: mask[:, 0], r"the mask has shape \(5, 2, 4\), but x has \(5, 1, 2, 4\)"),
        (lambda mask: mask.float(), "the mask of x is of float32: give a boolean for each value, True where it was"),
        (lambda mask: [[True]], "the mask of x is of list"),
        (lambda mask: mask & False, "all values of x are missing: a mask is True where a value was seen"),
        (lambda mask: mask & (torch.arange(5) != 3).view(5, 1, 1, 1), r"all values of x\[3\] are missing"),
    ],
    ids=["shape", "type", "list", "everything", "a datum"],
)
def test_masks_that_do_not_fit_are_refused(linear, mask, change, words):
    guide = optimal_mean_field(linear)
    bad = change(mask | (torch.arange(4) == 0))
    for call in (log_weights, log_likelihood):
        with pytest.raises(InputError, match=words):
            call(linear.vae, guide, linear.x, 2, mask=bad)
    if "all values" not in words:
        for program in (linear.vae, guide):
            with pytest.raises(InputError, match=words):
                program(linear.x, mask=bad)


def test_a_value_that_was_seen_is_finite(linear):
    x = linear.x.clone()
    x[1, 0, 1, 2] = torch.nan
    with pytest.raises(InputError, match=r"x\[1, 0, 1, 2\] is nan: every value must be finite$"):
        log_weights(linear.vae, linear.exact_guide(), x, 2, mask=torch.ones_like(x, dtype=torch.bool))


def test_autoregressive_likelihoods_say_what_to_take_instead():
    likelihood = PixelCNN((1, 4, 4), 2, layers=2, channels=4)
    vae = pv.VAE(MLPDecoder(2, likelihood.features_shape, hidden=(8,)), StandardNormal(2), likelihood)
    guide, x = MeanField(vae, MLPEncoder((1, 4, 4), hidden=(8,))), torch.ones(2, 1, 4, 4)
    words = (
        "PixelCNN gives no density of a part of x, but x has missing values: take a likelihood of independent pixels"
    )
    for call in (
        lambda mask: vae(x, mask=mask),
        lambda mask: marginal_log_likelihood(vae, x, guide, mask=mask),
        lambda mask: ELBO().loss(vae, guide, x, mask=mask),
    ):
        with pytest.raises(InputError, match=words):
            call(torch.rand(x.shape) < 0.5)


def test_features_of_another_shape_need_to_say_what_they_tell_of():
    class Doubled(pv.likelihoods.Likelihood):
        def __init__(self):
            super().__init__()
            self.features_shape = (10,)

        def forward(self, features):
            return self.to_event(pyro.distributions.Normal(features[..., :5], features[..., 5:].exp()))

        def fisher(self, features):
            return torch.ones_like(features)

    _vae, guide, x, _ = pair(Laplace, Doubled, shape=(5,))
    with pytest.raises(
        InputError, match=r"Doubled has features \(10,\), of another shape than x.* implement seen\(x\)"
    ):
        guide(x, mask=torch.rand(x.shape) < 0.5)


def test_encoders_see_zero_for_what_is_missing():
    for likelihood, make in ((Bernoulli, MeanField), (pv.likelihoods.Poisson, pv.guides.RecursiveMixture)):
        _vae, guide, x, _ = pair(make, likelihood, shape=(5,))
        mask = torch.rand(x.shape) < 0.5
        with missing_values():
            found = guide.posterior(hide(x, mask))
        torch.testing.assert_close(found.mean, guide.posterior(torch.where(mask, x, 0)).mean)


def test_means_stand_for_missing_values_and_constants_stay_so():
    x = torch.tensor([[0.1, 1.0], [torch.nan, 3.0], [0.1, torch.nan], [0.1, 8.0]])
    with missing_values():
        filled = fill_mean(x)
    assert torch.equal(filled[:, 0], torch.full((4,), 0.1))
    assert filled[2, 1] == 4
    assert fill_mean(x) is x
