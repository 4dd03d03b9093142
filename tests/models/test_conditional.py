"""The conditional VAE: one class against the plain VAE, closed forms, stock Pyro, and bad input."""

from functools import partial

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn
from torch.func import jacrev

import pyro_vaes as pv
from pyro_vaes import InputError, evaluate
from pyro_vaes.data import Data
from pyro_vaes.given import Given, bind
from pyro_vaes.guides import (
    FullCovariance,
    Householder,
    InverseAutoregressiveFlow,
    Laplace,
    LowRank,
    MeanField,
    Mixture,
    RecursiveMixture,
    SemiAmortized,
)
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.models import ConditionalPrior, ConditionalVAE
from pyro_vaes.networks import ConditionalDecoder, MLPDecoder, linearize
from pyro_vaes.priors import AutoregressiveFlow, GaussianMixture, StandardNormal, VampPrior
from tests.helpers.conditional import SHAPE, ConditionalLinearGaussian, N, Z, conditional, encoder, plain

GUIDES = {
    "full-covariance": FullCovariance,
    "householder": Householder,
    "inverse-autoregressive-flow": InverseAutoregressiveFlow,
    "laplace": partial(Laplace, warmup=0),
    "low-rank": LowRank,
    "mean-field": MeanField,
    "mixture": partial(Mixture, components=2),
    "recursive-mixture": partial(RecursiveMixture, components=2),
    "semi-amortized": partial(SemiAmortized, steps=2),
}
every_guide = pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES)


@pytest.fixture
def x():
    return torch.rand(N, *SHAPE).round().double()


def seeded(function, *args, **options):
    torch.manual_seed(3)
    return function(*args, **options)


@every_guide
def test_one_class_is_the_vae(make, x):
    model = conditional()
    guide = make(model, encoder()).double()
    y = torch.zeros(N, dtype=torch.long)
    vae, same = plain(model, guide, y[:1])
    z = torch.randn(3, N, Z).double()
    torch.testing.assert_close(bind(model, Given(y=y)).log_joint(x, z), vae.log_joint(x, z), rtol=0, atol=0)
    values = [
        seeded(default_loss(guide).differentiable_loss, model, guide, x, y),
        seeded(default_loss(same).differentiable_loss, vae, same, x),
    ]
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(value, [each for module in pair for each in module.parameters()], allow_unused=True)
        for value, pair in zip(values, ((model, guide), (vae, same)), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)
    weights = [
        seeded(evaluate.log_weights, model, guide, x, 7, y=y),
        seeded(evaluate.log_weights, vae, same, x, 7),
    ]
    torch.testing.assert_close(*weights, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian])
def test_one_class_has_the_trusted_estimate_of_the_vae(likelihood, x):
    model = conditional(likelihood=likelihood().double())
    guide = MeanField(model, encoder()).double()
    y = torch.zeros(N, dtype=torch.long)
    vae, same = plain(model, guide, y[:1])
    ours = evaluate.marginal_log_likelihood(model, x, guide, 200, y=y)
    theirs = evaluate.marginal_log_likelihood(vae, x, same, 200)
    torch.testing.assert_close(ours.per_datum, theirs.per_datum, rtol=0, atol=1e-6)


@every_guide
def test_a_batch_of_conditions_is_each_condition_alone(make, x):
    model = conditional(condition_dim=3, prior=ConditionalPrior(Z, 3))
    nn.init.normal_(model.prior.network[-1].weight)
    guide = make(model, encoder()).double()
    y = torch.tensor([0, 2, 1, 2, 0])
    z = torch.randn(3, N, Z).double()
    view, posterior = (bind(each, Given(y=y)) for each in (model, guide))
    log_q = seeded(posterior.posterior, x).log_prob(z)
    for row in range(N):
        one = slice(row, row + 1)
        alone, same = plain(model, guide, y[one])
        alone.prior = bind(model.prior, Given(y=y[one]))
        torch.testing.assert_close(view.log_joint(x, z)[:, one], alone.log_joint(x[one], z[:, one]))
        if not isinstance(guide, SemiAmortized):  # whose draws are those of a batch
            torch.testing.assert_close(log_q[:, one], same.posterior(x[one]).log_prob(z[:, one]))


def test_the_posterior_and_evidence_of_the_linear_model():
    linear = ConditionalLinearGaussian()
    y = torch.arange(N) % 3
    c = torch.eye(3).double()[y]
    x = linear.model.sample(N, y)
    mean, covariance = linear.posterior(x, c)
    for condition in (y, c):
        guide = Laplace(linear.model, linear.encoder, updates=1, step_size=1.0, warmup=0).double()
        q = bind(guide, Given(y=condition)).posterior(x)
        torch.testing.assert_close(q.mean, mean)
        torch.testing.assert_close(q.covariance_matrix, covariance.expand(N, Z, Z))
        estimate = evaluate.marginal_log_likelihood(linear.model, x, guide, 100, y=condition)
        torch.testing.assert_close(estimate.per_datum, linear.log_evidence(x, c), rtol=0, atol=1e-6)
        weights = evaluate.log_weights(linear.model, guide, x, 3, y=condition)
        torch.testing.assert_close(weights, linear.log_evidence(x, c).expand(3, N))


def test_draws_of_the_linear_model_have_its_moments():
    linear, n = ConditionalLinearGaussian(), 30_000
    draws = linear.model.sample(n, torch.tensor([2, 1])).flatten(1)
    for label, part in ((2, draws[::2]), (1, draws[1::2])):
        mean = linear.bias + linear.offsets[:, label]
        error = part.std(0) / (n / 2) ** 0.5
        assert ((part.mean(0) - mean).abs() < 5 * error).all()


@pytest.mark.parametrize(
    "prior", [StandardNormal, GaussianMixture, AutoregressiveFlow, lambda size: ConditionalPrior(size, 3)]
)
def test_any_prior_is_an_estimate_by_hand(prior, x):
    model = conditional(condition_dim=3, prior=prior(Z))
    y = torch.tensor([0, 2, 1, 2, 0])
    z = torch.randn(4, N, Z).double()
    p = model.prior(y) if isinstance(model.prior, ConditionalPrior) else model.prior()
    joined = torch.cat([z, torch.eye(3).double()[y].expand(4, N, 3)], -1)
    expected = p.log_prob(z) + model.likelihood(model.decoder.network(joined)).log_prob(x)
    torch.testing.assert_close(bind(model, Given(y=y)).log_joint(x, z), expected)


def test_stock_pyro_has_the_figures_of_the_library(x):
    y = torch.tensor([0, 2, 1, 2, 0])
    model = conditional(condition_dim=3)
    guide = MeanField(model, encoder()).double()
    stock = SVI(model, guide, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO())
    weights = seeded(evaluate.log_weights, model, guide, x, 1, y=y)
    assert seeded(stock.evaluate_loss, x, y) == pytest.approx(-weights.sum().item(), rel=1e-12)
    z = torch.randn(N, Z).double()
    trace = poutine.trace(poutine.condition(model, data={"z": z})).get_trace(x, y)
    torch.testing.assert_close(trace.log_prob_sum(), bind(model, Given(y=y)).log_joint(x, z).sum())
    with pyro.poutine.block():
        drawn = seeded(Predictive(poutine.uncondition(model), num_samples=3, return_sites=["x", "z"]), x, y)
    assert drawn["x"].shape == (3, N, *SHAPE)
    again = Predictive(poutine.uncondition(model), posterior_samples={"z": drawn["z"]}, return_sites=["x"])
    means = bind(model, Given(y=y)).decode(drawn["z"])
    many = torch.stack([again(x, y)["x"] for _ in range(400)]).mean(0)
    assert (many - means).abs().max() < 6 * 0.5 / 400**0.5


def test_stock_svi_trains_model_and_guide(x):
    pyro.clear_param_store()
    y = torch.arange(N) % 3
    model = conditional(condition_dim=3, prior=ConditionalPrior(Z, 3))
    guide = MeanField(model, encoder()).double()
    before = [each.detach().clone() for module in (model, guide) for each in module.parameters()]
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ELBO())
    for _ in range(3):
        svi.step(x, y)
    after = [each for module in (model, guide) for each in module.parameters()]
    assert not [index for index, pair in enumerate(zip(before, after, strict=True)) if torch.equal(*pair)]
    assert len({name.partition("$$$")[0] for name in pyro.get_param_store()}) == 2


def test_the_linearization_is_the_jacobian_in_z():
    decoder, y = ConditionalDecoder(MLPDecoder(Z + 3, (7,), hidden=(5,)), 3).double(), torch.tensor([0, 2])
    z = torch.randn(2, Z).double()
    at = linearize(bind(decoder, Given(y=y)), z)
    assert at.output is not None
    expected = jacrev(lambda value: decoder(value, y).sum(0))(z).permute(1, 0, 2)
    torch.testing.assert_close(at.output.weight @ at.transposed().mT, expected)
    v = torch.randn(2, Z).double()
    torch.testing.assert_close(at.output.weight @ at.push(v).unsqueeze(-1), expected @ v.unsqueeze(-1))
    w = torch.randn(2, 7).double()
    torch.testing.assert_close(at.pull(w @ at.output.weight), (w.unsqueeze(1) @ expected).squeeze(1))


def labeled_data(y=None):
    torch.manual_seed(0)
    labels = torch.arange(60) % 3 if y is None else y
    x = (torch.rand(60, *SHAPE[1:]) < (0.2 + 0.3 * (torch.arange(60) % 3))[:, None, None]).float()
    return Data.from_arrays(x_train=x[:40], y_train=labels[:40], x_test=x[40:], y_test=labels[40:])


@pytest.mark.parametrize("step", ["eager", "compiled"])
def test_fit_passes_labels_and_vectors(step):
    vectors = torch.eye(3)[torch.arange(60) % 3]
    found = []
    for y in (None, vectors):
        torch.manual_seed(1)
        model = conditional(condition_dim=3)
        guide = MeanField(model, encoder()).double()
        run = pv.fit(model, guide, labeled_data(y), epochs=2, batch_size=8, step=step, device="cpu", progress=False)
        found.append([run.history[-1]["valid_elbo"], *(w for m in (model, guide) for w in m.state_dict().values())])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found[0][1:], found[1][1:], strict=True))


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (None, "ConditionalVAE requires y, the labels or conditions of x"),
        (torch.tensor([0, 1, 2, 3, 0]), r"y\[3\] is 3: labels of this model are whole numbers from 0 to 2"),
        (torch.tensor([0, -1, 2, 1, 0]), r"y\[1\] is -1: labels"),
        (torch.tensor([0, 0.5, 2, 1, 0]), r"y\[1\] is 0.5: labels"),
        (torch.zeros(5, 4), r"y has the shape \(5, 4\), but the model's condition has the size 3"),
        (torch.zeros(4), "y has 4 rows for the 5 observations"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(y, expected, x):
    model = conditional(condition_dim=3)
    guide = MeanField(model, encoder()).double()
    with pytest.raises(InputError, match=expected):
        evaluate.log_weights(model, guide, x, 3, y=y)
    if y is not None and len(y) == len(x):
        with pytest.raises(InputError, match=expected):
            model.sample(5, y)


def test_fit_refuses_labels_out_of_range_and_data_without_labels():
    model = conditional(condition_dim=2)
    guide = MeanField(model, encoder()).double()
    with pytest.raises(InputError, match="whole numbers from 0 to 1"):
        pv.fit(model, guide, labeled_data(), progress=False)
    x = torch.rand(20, *SHAPE[1:]).round()
    with pytest.raises(InputError, match="takes y beside x, but the data have no y"):
        pv.fit(model, guide, Data.from_arrays(x_train=x), progress=False)


def test_a_forgotten_condition_says_so(x):
    model = conditional(condition_dim=3)
    guide = MeanField(model, encoder()).double()
    for call in (lambda: model.decode(torch.zeros(5, Z).double()), lambda: guide.posterior(x), lambda: model.sample(2)):
        with pytest.raises(InputError, match="conditional on y, which is missing"):
            call()


def test_parts_that_do_not_fit_are_refused():
    parts = StandardNormal(Z), Bernoulli()
    with pytest.raises(InputError, match="VampPrior is a mixture of posteriors"):
        ConditionalVAE(MLPDecoder(Z + 3, SHAPE), VampPrior(Z), Bernoulli(), 3)
    with pytest.raises(InputError, match="the decoder does not take latents"):
        ConditionalVAE(MLPDecoder(Z, SHAPE), *parts, 3)
    with pytest.raises(InputError, match="condition_dim"):
        ConditionalVAE(MLPDecoder(Z, SHAPE), *parts, 0)
