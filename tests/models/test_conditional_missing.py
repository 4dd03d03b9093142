"""Conditions and missing values at once: one class against the plain VAE, closed forms, stock Pyro, training."""

import json

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO

from pyro_vaes import InputError, evaluate
from pyro_vaes.data import Data
from pyro_vaes.evaluate.inputs import as_inputs
from pyro_vaes.given import Given, bind, given_of
from pyro_vaes.guides import Laplace, LowRank, MeanField, RecursiveMixture, SemiAmortized
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.missing import hide, missing_values
from tests.helpers.command_line import SMALL, run
from tests.helpers.conditional import SHAPE, ConditionalLinearGaussian, N, Z, conditional, encoder, plain
from tests.helpers.training import assert_equal, train, weights

Y = torch.tensor([0, 2, 1, 2, 0])
GUIDES = {
    "laplace": lambda *pair: Laplace(*pair, warmup=0),
    "low-rank": LowRank,
    "mean-field": MeanField,
    "recursive-mixture": lambda *pair: RecursiveMixture(*pair, components=2),
    "semi-amortized": lambda *pair: SemiAmortized(*pair, steps=2),
}
ESTIMATES = {
    "log_weights": lambda *pair, **given: evaluate.log_weights(*pair, 7, **given),
    "log_likelihood": lambda *pair, **given: evaluate.log_likelihood(*pair, 30, **given).per_datum,
    "marginal": lambda model, guide, x, **given: (
        evaluate.marginal_log_likelihood(model, x, guide, 100, **given).per_datum
    ),
    "gaps": lambda *pair, **given: evaluate.inference_gaps(*pair, num_samples=20, num_steps=2, **given).best_elbo,
    "posterior_means": lambda _, guide, x, **given: evaluate.posterior_means(guide, x, **given)["z"],
    "annealing": lambda model, _, x, **given: evaluate.annealed_importance_sampling(model, x, 4, 5, **given).per_datum,
    "reference": lambda model, _, x, **given: evaluate.reference_posterior(model, x[:1], 4, 3, 2, **first(given)).draws,
    "importance": lambda *pair, **given: impute(*pair, method="importance", **given),
    "gibbs": lambda *pair, **given: impute(*pair, method="gibbs", **given),
}


def first(given):
    return {name: value[:1] for name, value in given.items()}


def impute(*pair, method, **given):
    return evaluate.impute(*pair, num_samples=3, num_draws=100, num_steps=8, method=method, **given).draws


def seeded(function, *args, **options):
    torch.manual_seed(3)
    return function(*args, **options)


@pytest.fixture
def x():
    return torch.rand(N, *SHAPE).round().double()


@pytest.fixture
def mask():
    return torch.rand(N, *SHAPE) < 0.6


def one_class(make, likelihood=None):
    """A conditional pair of one class, its labels, and the plain pair that it is."""
    model = conditional(likelihood=likelihood)
    guide = make(model, encoder()).double()
    y = torch.zeros(N, dtype=torch.long)
    return (model, guide), y, plain(model, guide, y[:1])


@pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES)
def test_one_class_has_the_loss_and_the_gradients_of_the_vae(make, x, mask):
    pair, y, same = one_class(make)
    losses = [
        seeded(default_loss(pair[1]).differentiable_loss, *pair, x, y, mask=mask),
        seeded(default_loss(same[1]).differentiable_loss, *same, x, mask=mask),
    ]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(loss, [each for module in p for each in module.parameters()], allow_unused=True)
        for loss, p in zip(losses, (pair, same), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ESTIMATES)
def test_one_class_has_the_estimates_of_the_vae(name, x, mask):
    pair, y, same = one_class(GUIDES["laplace"], Gaussian(0.5).double())
    found = seeded(ESTIMATES[name], *pair, x, y=y, mask=mask)
    expected = seeded(ESTIMATES[name], *same, x, mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def on_what_was_seen(linear, x, c, mask):
    """Mean and covariance of z, evidence, and mean and variance of what is hidden, of each observation."""
    identity, results = torch.eye(Z).double(), []
    for row, condition, seen in zip(x.flatten(1), c, mask.flatten(1), strict=True):
        location = linear.bias + linear.offsets @ condition
        w, noise = linear.weight[seen], linear.scale**2
        covariance = torch.linalg.inv(identity + w.T @ w / noise)
        mean = covariance @ w.T @ (row - location)[seen] / noise
        evidence = torch.distributions.MultivariateNormal(
            location[seen], w @ w.T + noise * torch.eye(int(seen.sum())).double()
        )
        hidden = linear.weight[~seen]
        variance = noise + (hidden @ covariance * hidden).sum(-1)
        results.append((mean, covariance, evidence.log_prob(row[seen]), location[~seen] + hidden @ mean, variance))
    means, covariances, evidences, hidden_means, variances = zip(*results, strict=True)
    return *map(torch.stack, (means, covariances, evidences)), torch.cat(hidden_means), torch.cat(variances)


@pytest.fixture
def linear():
    return ConditionalLinearGaussian()


@pytest.mark.parametrize("one_hot", [False, True])
@torch.no_grad()
def test_the_linear_model_given_a_condition_and_what_was_seen(linear, mask, one_hot):
    c = torch.eye(3).double()[Y]
    x, y = linear.model.sample(N, Y), c if one_hot else Y
    mean, covariance, evidence, hidden_mean, variance = on_what_was_seen(linear, x, c, mask)
    guide = Laplace(linear.model, linear.encoder, updates=1, step_size=1.0, warmup=0).double()
    with missing_values():
        q = bind(guide, Given(y=y)).posterior(hide(x, mask))
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.covariance_matrix, covariance)
    torch.testing.assert_close(evaluate.posterior_means(guide, x, y=y, mask=mask)["z"], mean)
    weights = evaluate.log_weights(linear.model, guide, x, 3, y=y, mask=mask)
    torch.testing.assert_close(weights, evidence.expand(3, N))
    marginal = evaluate.marginal_log_likelihood(linear.model, x, guide, 100, y=y, mask=mask)
    torch.testing.assert_close(marginal.per_datum, evidence, rtol=0, atol=1e-6)
    for method in ("importance", "gibbs"):
        found = evaluate.impute(linear.model, guide, x, mask, 400, y=y, method=method, num_steps=40)
        error = (found.draws[:, ~mask].mean(0) - hidden_mean) / (variance / 400).sqrt()
        assert error.abs().max() < 4
        assert torch.equal(found.draws[:, mask], x[mask].expand(400, -1))


def test_stock_pyro_has_the_figures_of_the_library(x, mask):
    model = conditional(condition_dim=3)
    guide = MeanField(model, encoder()).double()
    guide.analytic_kl = False
    expected = -seeded(evaluate.log_weights, model, guide, x, 1, y=Y, mask=mask).sum().item()
    for loss in (Trace_ELBO(), ELBO()):
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.0}), loss)
        for call in (svi.evaluate_loss, svi.step):
            assert float(seeded(call, x, Y, mask)) == pytest.approx(expected, rel=1e-12)
            assert float(seeded(call, x, Y, mask=mask)) == pytest.approx(expected, rel=1e-12)
            assert float(seeded(call, x, y=Y, mask=mask)) == pytest.approx(expected, rel=1e-12)
    z = torch.randn(N, Z).double()
    trace = poutine.trace(poutine.condition(model, data={"z": z})).get_trace(x, Y, mask=mask)
    with missing_values():
        expected = bind(model, Given(y=Y)).log_joint(hide(x, mask), z)
    assert trace.log_prob_sum().item() == pytest.approx(expected.sum().item(), rel=1e-12)


@torch.no_grad()
def test_predictive_draws_given_a_condition_and_what_was_seen(linear, mask):
    x = linear.model.sample(N, Y)
    mean, covariance, *_ = on_what_was_seen(linear, x, torch.eye(3).double()[Y], mask)
    guide = Laplace(linear.model, linear.encoder, updates=1, step_size=1.0, warmup=0).double()
    predictive = Predictive(linear.model, guide=guide, num_samples=1000, parallel=True, return_sites=["z"])
    z = predictive(x, Y, mask=mask)["z"]
    error = (z.mean(0) - mean) / (covariance.diagonal(dim1=-2, dim2=-1) / 1000).sqrt()
    assert error.abs().max() < 4


def test_inputs_are_checked_and_bound_together(x, mask):
    model = conditional(condition_dim=3)
    guide = MeanField(model, encoder()).double()
    found, *views = as_inputs(x, Y, model, guide, mask=mask)
    assert torch.equal(found.isnan(), ~mask)
    assert all(torch.equal(given_of(view)["y"], Y) for view in views)
    for options, words in (
        ({"y": Y[:4]}, "y has 4 rows for the 5 observations"),
        ({"y": torch.zeros(N, 4)}, r"y has the shape \(5, 4\), but the model's condition has the size 3"),
        ({"y": Y, "mask": mask[:4]}, r"the mask has shape \(4, 1, 4, 4\), but x has \(5, 1, 4, 4\)"),
        ({"y": Y, "mask": mask & False}, "all values of x are missing"),
    ):
        given = {"mask": mask, **options}
        for call in (evaluate.log_weights, evaluate.impute):
            with pytest.raises(InputError, match=words):
                call(model, guide, x, **({"num_samples": 2} | given))


def data_of(values, seen, y):
    """Labeled data of the kind values, of which some are NaN."""
    x = np.where(seen, values, np.nan)
    return Data.from_arrays(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:], kind="values")


@pytest.mark.parametrize("make", [MeanField, GUIDES["laplace"]], ids=["mean-field", "laplace"])
def test_fit_takes_labels_and_missing_values(make):
    random = np.random.default_rng(0)
    values, seen, y = random.random((60, 4, 4)), random.random((60, 4, 4)) < 0.6, np.arange(60) % 3
    found = []
    for each in (values, np.where(seen, values, random.random((60, 4, 4)))):  # what is hidden does not matter
        torch.manual_seed(1)
        model = conditional(condition_dim=3, likelihood=Gaussian(0.5))
        pair = model, make(model, encoder()).double()
        history = train(pair, data_of(each, seen, y), epochs=3, batch_size=8).history
        found.append((weights(pair), [row["valid_elbo"] for row in history]))
    assert_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert found[0][1][-1] > found[0][1][0]


def test_fit_of_one_class_is_that_of_the_vae():
    random = np.random.default_rng(0)
    data = data_of(random.random((60, 4, 4)), random.random((60, 4, 4)) < 0.6, np.zeros(60, dtype=int))
    pair, _, same = one_class(MeanField, Gaussian(0.5).double())
    histories = [train(each, data, epochs=2, batch_size=8).history for each in (pair, same)]
    assert histories[0][-1]["valid_elbo"] == pytest.approx(histories[1][-1]["valid_elbo"], rel=1e-9)
    for one, other in zip(pair, same, strict=True):
        torch.testing.assert_close([*one.parameters()], [*other.parameters()])


def test_the_command_line_trains_and_evaluates(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (95, 4, 4), dtype=np.uint8), np.arange(95) % 3
    np.savez("masked.npz", x_train=x, mask_train=random.random(x.shape) < 0.6, y_train=y)
    assert run("train", "conditional", "--data", "masked.npz", *SMALL, "--out", "run") == 0
    assert run("evaluate", "run", "--test-size", "3", "--num-samples", "30") == 0
    assert "% of the values missing" in capsys.readouterr().out
    assert np.isfinite(json.loads((tmp_path / "run" / "evaluation.json").read_text())["log_likelihood"])
