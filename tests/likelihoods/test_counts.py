"""Size factors of counts: the density with a scaled mean, in likelihoods, models, guides, losses and estimates."""

import copy

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from scipy.stats import nbinom, poisson

import pyro_vaes as pv
from pyro_vaes import VAE, InputError, evaluate
from pyro_vaes.data import Data
from pyro_vaes.guides import FullCovariance, Laplace, MeanField, RecursiveMixture, SemiAmortized
from pyro_vaes.likelihoods import Likelihood, NegativeBinomial, Poisson, ZeroInflated
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.missing import hide, missing_values
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.command_line import SMALL, run

D, Z, MEAN_COUNT, DISPERSION = 4, 2, 2.5, 0.7
X = torch.tensor([[3.0, 0.0, 9.0, 4.0], [0.0, 1.0, 0.0, 0.0], [40.0, 2.0, 0.0, 14.0]]).double()
SIZES = X.mean(-1, keepdim=True) / MEAN_COUNT  # 1.6, 0.1 and 5.6
MASK = torch.tensor([[True, False, True, True], [True, True, True, False], [False, True, True, True]])

LIKELIHOODS = {
    "poisson": Poisson,
    "negative-binomial": lambda **options: NegativeBinomial(dispersion=DISPERSION, **options),
    "zero-inflated-poisson": lambda **options: ZeroInflated((D,), Poisson(**options)),
    "zero-inflated-negative-binomial": lambda **options: ZeroInflated.build((D,), **options),
}
every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
GUIDES = [FullCovariance, Laplace, MeanField, RecursiveMixture, SemiAmortized]


def sized(make):
    """The likelihood with size factors relative to ``MEAN_COUNT``."""
    likelihood = make(size_factors=True).double()
    likelihood.set_event_dim(1)
    getattr(likelihood, "likelihood", likelihood).mean_count.fill_(MEAN_COUNT)
    return likelihood


def shifted(features, sizes=SIZES):
    """Features whose first D, log means, are those of these sizes."""
    return torch.cat([features[..., :D] + sizes.log(), features[..., D:].expand(*sizes.shape[:-1], -1)], -1)


def features_of(likelihood, *leading):
    return torch.randn(*leading, *(likelihood.features_shape or (D,))).double()


def pair(make, guide=MeanField):
    """A model with size factors, and the guide."""
    likelihood = sized(make)
    model = VAE(MLPDecoder(Z, likelihood.features_shape or (D,), hidden=(8,)), StandardNormal(Z), likelihood).double()
    torch.nn.init.normal_(model.decoder[0].bias)
    return model, guide(model, MLPEncoder((D,), hidden=(8,))).double()


def plain(make, model, guide, size):
    """The pair without size factors whose mean is larger by this factor."""
    vae = VAE(copy.deepcopy(model.decoder), StandardNormal(Z), make().double()).double()
    linear = [layer for layer in vae.decoder.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        linear.bias[:D] += size.log()
    same = copy.deepcopy(guide, {id(model): vae})
    same.__dict__["vae"] = vae
    return vae, same


def seeded(function, *args, **options):
    torch.manual_seed(3)
    return function(*args, **options)


def test_counts_of_each_base_have_a_scaled_mean():
    f = features_of(Poisson(), 3)
    mean = (f.exp() * SIZES).numpy()
    found = sized(LIKELIHOODS["poisson"]).observation(f, X).log_prob(X)
    torch.testing.assert_close(found, torch.from_numpy(poisson.logpmf(X.numpy(), mean)).sum(-1))
    r = 1 / DISPERSION
    expected = torch.from_numpy(nbinom.logpmf(X.numpy(), r, r / (r + mean))).sum(-1)
    found = sized(LIKELIHOODS["negative-binomial"]).observation(f, X).log_prob(X)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # float32 rounds the dispersion


@every_likelihood
def test_it_is_the_plain_likelihood_with_the_log_size_added(make):
    likelihood, other = sized(make), make().double()
    for leading in ((3,), (5, 3), (1,)):
        f = features_of(likelihood, *leading)
        at = shifted(f, SIZES.expand(*leading[:-1], 3, 1))
        torch.testing.assert_close(likelihood.observation(f, X).log_prob(X), other(at).log_prob(X))
        torch.testing.assert_close(likelihood.seen_score(f, X), other.score(at, X))
        torch.testing.assert_close(likelihood.seen_fisher(f, X), other.fisher(at))


@every_likelihood
def test_score_and_fisher_of_an_observation_are_those_of_automatic_differentiation(make):
    likelihood, f = sized(make), features_of(sized(make), 3)
    gradient = torch.func.grad(lambda value: likelihood.observation(value, X).log_prob(X).sum())(f)
    torch.testing.assert_close(likelihood.seen_score(f, X), gradient)
    assert (likelihood.seen_fisher(f, X) > 0).all()
    counts = torch.arange(3000).double().view(-1, 1, 1)
    at = likelihood.offset(f, X)
    p = likelihood(at).base_dist.log_prob(counts).exp()
    squares = Likelihood.score(likelihood, at.expand(3000, *at.shape), counts.expand(-1, 3, D)).square()
    expected = (p.repeat(1, 1, at.shape[-1] // D) * squares).sum(0)
    torch.testing.assert_close(likelihood.seen_fisher(f, X), expected)


@every_likelihood
def test_missing_counts_are_left_out_of_the_size_too(make):
    likelihood, other, f = sized(make), make().double(), features_of(sized(make), 3)
    sizes = (X * MASK).sum(-1, keepdim=True) / MASK.sum(-1, keepdim=True) / MEAN_COUNT
    at = shifted(f, sizes)
    with missing_values():
        x = hide(X, MASK)
        torch.testing.assert_close(likelihood.observation(f, x).log_prob(x), other(at).log_prob(x))
        torch.testing.assert_close(likelihood.seen_score(f, x), other.seen_score(at, x))
        torch.testing.assert_close(likelihood.seen_fisher(f, x), other.seen_fisher(at, x))


@every_likelihood
def test_without_an_observation_the_size_is_one(make):
    likelihood, other, f = sized(make), make().double(), features_of(sized(make), 3)
    torch.testing.assert_close(likelihood(f).log_prob(X), other(f).log_prob(X))
    torch.testing.assert_close(likelihood.mean(f), other.mean(f))
    assert torch.equal(seeded(likelihood(f).sample), seeded(other(f).sample))
    assert other.offset(f, X) is f


def test_an_observation_without_a_count_has_the_size_of_one_count():
    likelihood, f = sized(Poisson), torch.zeros(1, D).double()
    of_none, of_one = (likelihood.offset(f, x) for x in (torch.zeros(1, D).double(), torch.eye(D)[:1].double()))
    torch.testing.assert_close(of_none, of_one)
    torch.testing.assert_close(of_one, torch.tensor(1 / (D * MEAN_COUNT)).double().log().expand(1, D))


def test_images_have_one_size_each():
    likelihood, x = Poisson(size_factors=True), torch.arange(24.0).view(2, 3, 2, 2)
    likelihood.set_event_dim(3)
    offset = likelihood.offset(torch.zeros(5, 2, 3, 2, 2), x)
    torch.testing.assert_close(offset.exp(), x.mean((1, 2, 3), keepdim=True).expand(5, 2, 3, 2, 2))


def test_sizes_are_relative_to_the_mean_of_what_was_seen():
    for likelihood in (NegativeBinomial(size_factors=True), ZeroInflated((D,), Poisson(size_factors=True))):
        likelihood.initialize(hide(X, MASK))
        found = getattr(likelihood, "likelihood", likelihood).mean_count
        torch.testing.assert_close(found.double(), X[MASK].mean())
    NegativeBinomial().initialize(X)


@every_likelihood
@pytest.mark.parametrize("guide", GUIDES)
def test_a_pair_has_the_figures_of_the_pair_with_a_scaled_mean(make, guide):
    x = torch.stack([X[0].roll(n) for n in range(3)])  # of one size
    model, sizes = pair(make, guide)
    other = plain(make, model, sizes, SIZES[0])
    z = torch.randn(5, 3, Z).double()
    torch.testing.assert_close(model.log_joint(x, z), other[0].log_joint(x, z))
    losses = [seeded(default_loss(p[1]).differentiable_loss, *p, x) for p in ((model, sizes), other)]
    torch.testing.assert_close(*losses)
    gradients = [
        torch.autograd.grad(loss, [w for module in p for w in module.parameters()], allow_unused=True)
        for loss, p in zip(losses, ((model, sizes), other), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        seeded(evaluate.log_weights, model, sizes, x, 7), seeded(evaluate.log_weights, *other, x, 7)
    )


@every_likelihood
def test_each_observation_has_its_own_size(make):
    model, guide = pair(make, lambda *parts: Laplace(*parts, updates=3))
    z, q = torch.randn(5, 3, Z).double(), guide.posterior(X)
    joint = model.log_joint(X, z)
    trace = poutine.trace(poutine.condition(model, data={"z": z[0]})).get_trace(X)
    assert trace.log_prob_sum().item() == pytest.approx(joint[0].sum().item())
    for n, size in enumerate(SIZES):
        one = slice(n, n + 1)
        vae, same = plain(make, model, guide, size)
        torch.testing.assert_close(joint[:, one], vae.log_joint(X[one], z[:, one]))
        alone = same.posterior(X[one])
        torch.testing.assert_close(q.mean[one], alone.mean)
        torch.testing.assert_close(q.covariance_matrix[one], alone.covariance_matrix)
        found = evaluate.marginal_log_likelihood(model, X[one], guide, 100)
        expected = evaluate.marginal_log_likelihood(vae, X[one], same, 100)
        torch.testing.assert_close(found.per_datum, expected.per_datum)


def test_stock_svi_has_the_loss_of_the_library():
    model, guide = pair(LIKELIHOODS["negative-binomial"])
    guide.analytic_kl = False
    stock = SVI(model, guide, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO())
    own = seeded(ELBO(sticking_the_landing=False).loss, model, guide, X)
    assert seeded(stock.evaluate_loss, X) == pytest.approx(float(own))
    own = seeded(ELBO(sticking_the_landing=False).loss, model, guide, X, mask=MASK)
    assert seeded(stock.evaluate_loss, X, mask=MASK) == pytest.approx(float(own))


@pytest.mark.parametrize("method", ["importance", "gibbs"])
def test_imputed_counts_have_the_size_of_those_seen(method):
    """The prior's mean μ: of a decoder that ignores z, missing counts are Poisson of mean μ times the size."""
    model, guide = pair(Poisson)
    last = [layer for layer in model.decoder.modules() if isinstance(layer, torch.nn.Linear)][-1]
    torch.nn.init.zeros_(last.weight)
    found = evaluate.impute(model, guide, X, MASK, 2000, method=method, num_steps=8)
    sizes = (X * MASK).sum(-1, keepdim=True) / MASK.sum(-1, keepdim=True) / MEAN_COUNT
    expected = (last.bias.exp() * sizes).detach()
    torch.testing.assert_close(found.mean[~MASK], expected[~MASK])
    error = (found.draws.mean(0) - expected)[~MASK] / (expected[~MASK] / 2000).sqrt()
    assert error.abs().max() < 4


def test_replications_have_the_sizes_of_the_observations():
    model, _ = pair(Poisson)
    last = [layer for layer in model.decoder.modules() if isinstance(layer, torch.nn.Linear)][-1]
    torch.nn.init.zeros_(last.weight)
    total = {"total": lambda x: x.sum(-1)}
    check = evaluate.predictive_check(model, X, statistics=total, num_replications=500)
    expected = (last.bias.exp().sum() * SIZES[:, 0]).detach()
    error = (check.means["total"] - expected) / (expected / 500).sqrt()
    assert error.abs().max() < 4


def test_simulations_are_refused_and_diagnoses_go_without(tmp_path):
    model, guide = pair(Poisson)
    words = "Poisson has size factors, so that its density is one given the size of x, but simulated data have another"
    for call in (lambda: evaluate.calibration(model, guide), lambda: evaluate.bidirectional_monte_carlo(model, X)):
        with pytest.raises(InputError, match=words):
            call()
    data = Data.from_arrays(x_train=X.repeat(20, 1), x_test=X, kind="counts")
    options = {"num_samples": 50, "num_steps": 2, "progress": False}
    (found,) = pv.diagnose({"sized": (model, guide)}, data, tmp_path, **options)
    assert found.calibrated is None
    assert found.numbers["calibration"]["calibrated"] is None
    assert "has no calibration" in (tmp_path / "diagnosis.html").read_text()


def test_fit_sets_what_sizes_are_relative_to_and_files_keep_it(tmp_path):
    data = Data.from_arrays(x_train=X.repeat(20, 1), x_test=X, kind="counts")
    model, guide = (each.float() for each in pair(LIKELIHOODS["zero-inflated-negative-binomial"]))
    pv.fit(model, guide, data, epochs=1, batch_size=8, step="eager", device="cpu", progress=False)
    found = model.likelihood.likelihood.mean_count
    torch.testing.assert_close(found, data.train.x.mean())
    pv.save(tmp_path / "pair.safetensors", model, guide)
    again = pair(LIKELIHOODS["zero-inflated-negative-binomial"])
    pv.load(tmp_path / "pair.safetensors", *(each.float() for each in again))
    assert torch.equal(again[0].likelihood.likelihood.mean_count, found)


def test_the_command_line_takes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("counts.npz", x_train=np.random.default_rng(0).poisson(2.0, (60, 5)))
    name = "zero-inflated(likelihood='poisson', size_factors=True)"
    assert run("train", "vae", "--data", "counts.npz", "--likelihood", name, *SMALL, "--out", "run") == 0
    likelihood = pv.load_run("run").system.model.likelihood
    assert likelihood.size_factors
    assert 1.5 < likelihood.likelihood.mean_count.item() < 2.5
    assert run("evaluate", "run", "--test-size", "3", "--num-samples", "30") == 0
    assert "given the size of each observation" in capsys.readouterr().out
