"""Clusters: sums over y against Pyro's enumeration, the plain VAE, closed forms."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import nn

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_weights
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.losses.progressive import ProgressiveELBO
from pyro_vaes.models import (
    LadderGuide,
    LadderMixtureGuide,
    LadderMixtureVAE,
    LadderVAE,
    MixtureGuide,
    MixtureVAE,
    initialize_from_codes,
)
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.testing.guides import assert_trains, gradients_are_finite
from pyro_vaes.testing.pairs import Pair
from pyro_vaes.traces import paired_traces, sample_sites
from tests.helpers.linear_gaussian import LinearGaussian

SHAPE, BATCH, K = (1, 6, 5), 4, 3


def mixture(components=K, likelihood=Bernoulli):
    model = MixtureVAE(MLPDecoder(2, SHAPE, (8,)), GaussianMixture(2, components), likelihood())
    return Pair(model, MixtureGuide(model, MLPEncoder(SHAPE, (8,))), model.sample(BATCH), ELBO())


def ladder_mixture(sites=(), network="mlp", merge="gate"):
    priors = [GaussianMixture(2, K), StandardNormal(1), GaussianMixture(3, 2)]
    if network == "mlp":
        hidden = ((8,), (7,), (6,))
        decoder, encoder = LadderMLPDecoder((2, 1, 3), SHAPE, hidden, merge), LadderMLPEncoder(SHAPE, hidden)
    else:
        decoder, encoder = (
            LadderConvDecoder((2, 1, 3), SHAPE, (4, 3, 2), 8, merge, nn.ELU),
            LadderConvEncoder(SHAPE, (4, 3, 2), 8, nn.ELU),
        )
    model = LadderMixtureVAE(decoder, priors, Bernoulli(), sites)
    return Pair(model, LadderMixtureGuide(model, encoder), model.sample(BATCH), ELBO())


PAIRS = {
    "mixture": mixture,
    "one-component": lambda: mixture(1),
    "ladder": ladder_mixture,
    "ladder-top": lambda: ladder_mixture([3]),
    "ladder-both": lambda: ladder_mixture([1, 3]),
    "ladder-conv": lambda: ladder_mixture([3], "conv", "concatenate"),
}
every_pair = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
with_sites = pytest.mark.parametrize("make", [PAIRS[name] for name in PAIRS if name != "ladder"])


def double(pair):
    return pair.model.double(), pair.guide.double(), pair.x.double()


def seeded(function, *args, seed=4):
    torch.manual_seed(seed)
    return function(*args)


# --- exact --------------------------------------------------------------------------------------------------


@with_sites
@pytest.mark.parametrize("particles", [1, 2])
def test_the_sum_over_y_is_that_of_pyro(make, particles):
    model, guide, x = double(make())
    guide.analytic_kl = False  # Pyro has the draw's log q - log p
    stock = TraceEnum_ELBO(particles, max_plate_nesting=1, vectorize_particles=particles > 1)
    values = [seeded(loss.differentiable_loss, model, guide, x) for loss in (ELBO(particles), stock)]
    torch.testing.assert_close(values[0], values[1].double(), rtol=1e-10, atol=0)
    parameters = [*model.parameters(), *guide.parameters()]
    gradients = [torch.autograd.grad(value, parameters) for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)


def test_the_sum_over_y_by_hand():
    model, guide, x = double(mixture())
    torch.manual_seed(4)
    probabilities = guide.clusters(x)["y"]
    terms = seeded(ELBO().terms, model, guide, x)
    features = guide.encoder(x)
    torch.manual_seed(4)
    z = guide.family.codes(features, torch.arange(K)[:, None]).rsample()
    prior = model.prior
    reconstruction, kl = torch.zeros(BATCH), torch.zeros(BATCH)
    for y in range(K):
        q = guide.family.codes(features, torch.tensor(y))
        p = dist.Normal(prior.locs[y], prior.log_scales[y].exp()).to_event(1)
        reconstruction = reconstruction + probabilities[:, y] * model.likelihood(model.decoder(z[y])).log_prob(x)
        kl = kl + probabilities[:, y] * torch.distributions.kl_divergence(q, p)
    kl_y = (probabilities * (probabilities.log() - prior.logits.log_softmax(0))).sum(-1)
    expected = {"reconstruction": reconstruction, "kl": kl + kl_y, "kl_y": kl_y, "kl_z": kl}
    torch.testing.assert_close(terms, expected)


@pytest.mark.parametrize("particles", [1, 3])
def test_one_component_is_the_vae(particles):
    model, guide, x, _ = mixture(components=1, likelihood=lambda: Gaussian(0.5))
    with torch.no_grad():
        model.prior.locs.zero_()
        model.prior.log_scales.zero_()
    vae = pv.VAE(model.decoder, StandardNormal(2), model.likelihood)
    hidden = nn.Linear(8, 8)
    with torch.no_grad():
        hidden.weight.copy_(guide.family.hidden.weight)
        hidden.bias.copy_(guide.family.hidden.bias + guide.family.shift.weight[0])
    plain = MeanField(vae, nn.Sequential(guide.encoder, hidden, nn.ReLU()))
    plain.head = guide.family.head
    ours, theirs = (seeded(ELBO(particles).terms, *pair, x) for pair in ((model, guide), (vae, plain)))
    for name in ("reconstruction", "kl"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    assert ours["kl_y"].abs().max() < 1e-6
    z = torch.randn(5, BATCH, 2)
    torch.testing.assert_close(model.log_joint(x, z), vae.log_joint(x, z))
    torch.testing.assert_close(guide.posterior(x).log_prob(z), plain.posterior(x).log_prob(z))


def test_summed_out_and_as_a_site_are_one_elbo():
    """With q(y | x, z) = p(y | z) the enumerated ELBO is that of the mixture's density, draw by draw."""
    model, guide, x = double(ladder_mixture())
    explicit = LadderMixtureVAE(model.decoder, list(model.priors), model.likelihood, sites=[1, 3])

    def enumerated(x):
        with pyro.plate("data", len(x)):
            z = [pyro.sample(f"z{level}", q) for level, q in enumerate(guide.posteriors(x), 1)]
            for level in (1, 3):
                probabilities = model.priors[level - 1].responsibilities(z[level - 1])
                pyro.sample(f"y{level}", dist.Categorical(probabilities), infer={"enumerate": "parallel"})

    guide.analytic_kl = enumerated.analytic_kl = False
    expected = seeded(ELBO().objective, model, guide, x)[0]
    torch.testing.assert_close(seeded(ELBO().objective, explicit, enumerated, x)[0], expected)
    stock = seeded(TraceEnum_ELBO(max_plate_nesting=1).loss, explicit, enumerated, x)
    assert -stock == pytest.approx(expected.sum().item(), rel=1e-8)


def linear_mixture():
    """Clusters under a linear decoder: x is a mixture of normals itself."""
    linear = LinearGaussian(latent_dim=2, event_shape=(5,), scale=1.0)
    model = MixtureVAE(linear.vae.decoder, GaussianMixture(2, K), linear.vae.likelihood).double()
    with torch.no_grad():
        model.prior.locs.mul_(3)
        model.prior.logits.normal_()
    scales = model.prior.log_scales.exp()
    noise = linear.scale**2 * torch.eye(5).double()
    covariances = torch.stack([linear.weight @ (s**2).diag() @ linear.weight.T + noise for s in scales])
    means = model.prior.locs @ linear.weight.T + linear.bias
    density = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=model.prior.logits),
        torch.distributions.MultivariateNormal(means, covariances),
    )
    guide = MixtureGuide(model, MLPEncoder((5,), (16,))).double()
    return model, guide, model.sample(200), density


def test_importance_weights_reach_the_evidence():
    model, guide, x, density = linear_mixture()
    loss, optimizer = ELBO(), torch.optim.Adam(guide.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss.differentiable_loss(model, guide, x).backward()
        optimizer.step()
    weights = log_weights(model, guide, x[:10], num_samples=2000)
    estimate = weights.logsumexp(0) - math.log(2000)
    error = (weights - weights.logsumexp(0)).exp().square().sum(0).sqrt()  # of the log, by the effective draws
    expected = density.log_prob(x[:10]).detach()
    assert ((estimate - expected).abs() < 5 * error + 0.02).all()
    assert (weights.mean(0) < expected + 0.1).all()


def test_log_joint_sums_y_out():
    model, _, x, _ = mixture()
    z = torch.randn(BATCH, 2)
    prior = model.prior
    each = [
        prior.logits.log_softmax(0)[y] + dist.Normal(prior.locs[y], prior.log_scales[y].exp()).log_prob(z).sum(-1)
        for y in range(K)
    ]
    expected = torch.stack(each).logsumexp(0) + model.likelihood(model.decoder(z)).log_prob(x)
    torch.testing.assert_close(model.log_joint(x, z), expected)


def test_a_ladder_mixture_without_sites_is_the_ladder():
    model, guide, x, _ = ladder_mixture()
    ladder = LadderVAE(model.decoder, list(model.priors), model.likelihood)
    plain = LadderGuide(ladder, guide.encoder)
    plain.heads = guide.heads
    torch.testing.assert_close(seeded(ELBO().terms, model, guide, x), seeded(ELBO().terms, ladder, plain, x))


# --- enumeration --------------------------------------------------------------------------------------------


def test_traces_enumerate_on_demand_alone():
    model, guide, x, _ = mixture()
    drawn, _ = paired_traces(model, guide, x)
    every, guide_trace = paired_traces(model, guide, x, num_particles=2, enumerate_discrete=True)
    assert sample_sites(drawn)["y"]["value"].shape == (BATCH,)
    assert sample_sites(drawn)["x"]["log_prob"].shape == (BATCH,)
    assert sample_sites(every)["y"]["value"].shape == (K, 1, 1)
    assert sample_sites(every)["x"]["log_prob"].shape == (K, 2, BATCH)
    total = sample_sites(guide_trace)["y"]["log_prob"].exp().sum(0)
    torch.testing.assert_close(total.expand(2, -1), torch.ones(2, BATCH))


def test_a_discrete_latent_that_is_not_enumerated_is_refused():
    model, guide, x, _ = mixture()

    def drawn(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", guide.family.clusters(guide.encoder(x)))
            pyro.sample("z", guide.family.codes(guide.encoder(x), y))

    with pytest.raises(InputError, match="site 'y' samples Categorical, which has no reparameterized sampler"):
        ELBO().terms(model, drawn, x)


@pytest.mark.parametrize("make", [mixture, PAIRS["ladder-top"]])
def test_sticking_the_landing_has_the_same_mean(make):
    (model, guide, x), draws = double(make()), 80
    means, errors = [], []
    for sticking in (False, True):
        loss = ELBO(sticking_the_landing=sticking)
        found = torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(value, [*guide.parameters()])])
                for value in (loss.differentiable_loss(model, guide, x) for _ in range(draws))
            ]
        )
        means.append(found.mean(0))
        errors.append(found.var(0) / draws)
    assert ((means[0] - means[1]).abs() <= 6 * (errors[0] + errors[1]).sqrt() + 1e-8).all()


# --- the contract -------------------------------------------------------------------------------------------


@every_pair
def test_shapes(make):
    model, guide, x, _ = make()
    assert model.sample(7).shape == (7, *SHAPE)
    for particles in (1, 3):
        terms = ELBO(particles).terms(model, guide, x)
        assert all(term.shape == (BATCH,) and term.isfinite().all() for term in terms.values())
        parts = sum(term for name, term in terms.items() if name.startswith("kl_")) if len(terms) > 2 else terms["kl"]
        torch.testing.assert_close(parts, terms["kl"])
    assert log_weights(model, guide, x, num_samples=6).shape == (6, BATCH)
    for probabilities in guide.clusters(x).values():
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(BATCH))
    many = torch.stack([x, x.flip(0)])
    assert all(q.batch_shape == (2, BATCH) for q in guide.posteriors(many))


@every_pair
def test_trains_in_stock_svi(make):
    for loss in (TraceEnum_ELBO(max_plate_nesting=1), ELBO()):
        tried = make()
        if tried.guide.__class__ is LadderMixtureGuide and not tried.model.sites:
            loss = Trace_ELBO() if isinstance(loss, TraceEnum_ELBO) else loss
        if isinstance(tried.model, MixtureVAE) and len(tried.model.prior.logits) == 1:
            continue  # the only cluster's probability is 1 whatever its logits
        assert_trains(tried, loss)


@pytest.mark.parametrize("make", [make for name, make in PAIRS.items() if name != "one-component"])
def test_gradients_and_copies(make):
    gradients_are_finite(make)
    first = make()
    other = Pair(*copy.deepcopy(first))
    assert other.guide.vae is other.model
    before = other.snapshot()
    assert_trains(first, ELBO())
    assert not other.moved(before)


@every_pair
def test_state_dict_float64_and_a_batch_of_one(make):
    (model, guide, x, _), (other, other_guide, *_) = make(), make()
    other.load_state_dict(model.state_dict())
    other_guide.load_state_dict(guide.state_dict())
    found = [seeded(ELBO().terms, *pair, x) for pair in ((model, guide), (other, other_guide))]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    one = ELBO(num_particles=2).terms(model.double(), guide.double(), x[:1].double())
    assert all((term.shape, term.dtype) == ((1,), torch.float64) for term in one.values())


def test_levels_fade_in_with_their_clusters():
    model, guide, x, _ = ladder_mixture([1])
    loss = ProgressiveELBO(steps=10)
    objective, terms = loss.objective(model, guide, x)
    torch.testing.assert_close(objective, terms["reconstruction"] - terms["kl_z3"])


def test_fit_and_clusters_of_digits():
    data = pv.data.load("digits")
    decoder = MLPDecoder(4, data.event_shape, (64,))
    model = MixtureVAE(decoder, GaussianMixture(4, 10), Gaussian())
    guide = MixtureGuide(model, MLPEncoder(data.event_shape, (64,)))
    run = pv.fit(model, guide, data, epochs=3, progress=False)
    assert run.history[-1]["valid_elbo"] > run.history[0]["valid_elbo"]
    assert {"kl_y", "kl_z"} <= run.history[0].keys()


# --- initialisation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [(), (1,)])
def test_priors_take_the_clusters_of_the_codes(sites):
    model = LadderMixtureVAE(
        LadderMLPDecoder((1, 2), (2,), ((4,), (4,))), [GaussianMixture(1, 2), StandardNormal(2)], Gaussian(1.0), sites
    )
    guide = LadderMixtureGuide(model, LadderMLPEncoder((2,), ((4,), (4,))))

    def posteriors(x):
        return [dist.Normal(x[:, :1], 0.1).to_event(1), dist.Normal(x, 1.0).to_event(1)]

    guide.posteriors = posteriors
    x = torch.cat([torch.full((300, 2), -5.0), torch.full((100, 2), 5.0)])
    initialize_from_codes(model, guide, x)
    prior = model.priors[0]
    order = prior.locs[:, 0].argsort()
    torch.testing.assert_close(prior.locs[order, 0], torch.tensor([-5.0, 5.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(prior.logits.softmax(0)[order], torch.tensor([0.75, 0.25]), rtol=0, atol=1e-4)
    torch.testing.assert_close(prior.log_scales.exp(), torch.full((2, 1), 0.1), rtol=0, atol=0.03)
    if not sites:
        clusters = prior.responsibilities(posteriors(x)[0].mean)
        assert (clusters.argmax(-1) == order[(x[:, 0] > 0).long()]).all()


def test_explicit_clusters_follow_those_of_the_codes():
    """Two groups of data: q(y | x) tells them apart as their codes do, and q(z | x, y) is alike for every y."""
    torch.manual_seed(0)
    model, guide, *_ = mixture(components=2)
    group = torch.arange(60) % 2
    x = group.view(-1, 1, 1, 1) + 0.05 * torch.rand(60, *SHAPE)
    guide.posteriors = lambda x: [dist.Normal(x.flatten(1)[:, :2], 0.05).to_event(1)]
    initialize_from_codes(model, guide, x)
    order = model.prior.locs[:, 0].argsort()
    assert (guide.clusters(x)["y"].argmax(-1) == order[group]).all()
    codes = guide.posterior(x).locs
    torch.testing.assert_close(codes[:, 0], codes[:, 1])


def test_clusters_of_a_summed_out_level_are_the_mean_responsibilities():
    model, guide, x, _ = ladder_mixture()
    with torch.no_grad():
        guide.heads[0].bias[2:] = -20.0  # q(z | x) all but a point
        guide.heads[0].weight[2:] = 0.0
    found = guide.clusters(x, num_samples=3)
    assert {name: value.shape for name, value in found.items()} == {"y1": (BATCH, K), "y3": (BATCH, 2)}
    expected = model.priors[0].responsibilities(guide.posteriors(x)[0].mean)
    torch.testing.assert_close(found["y1"], expected, rtol=0, atol=1e-2)


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MixtureVAE(MLPDecoder(2, SHAPE), StandardNormal(2), Gaussian()), "StandardNormal, which has no clu"),
        (lambda: ladder_mixture([2]), r"sites is \[2\], but the levels with a GaussianMixture are \[1, 3\]"),
        (
            lambda: LadderMixtureVAE(LadderMLPDecoder((2,), SHAPE, ((8,),)), [StandardNormal(2)], Gaussian()),
            "no level has clusters",
        ),
        (lambda: GaussianMixture(2, components=0), "components is 0"),
        (lambda: initialize_from_codes(*mixture(9)[:3]), "there are 9 components, but only 4 .* at most components=4"),
        (lambda: ELBO().terms(mixture().model, ladder_mixture().guide, mixture().x), "latents are"),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
