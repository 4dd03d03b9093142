"""The contract, over lists of priors, likelihoods, networks, guides and losses."""

import contextlib
import copy
import io

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from torch.distributions import Independent, MultivariateNormal, Normal

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.guides import (
    FullCovariance,
    Householder,
    InverseAutoregressiveFlow,
    Laplace,
    LowRank,
    MeanField,
    SemiAmortized,
)
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Poisson
from pyro_vaes.losses import ELBO, Warmup
from pyro_vaes.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal, VampPrior
from pyro_vaes.traces import paired_traces
from pyro_vaes.vae import unannounced

LATENT, BATCH = 3, 4
PRIORS = {
    "StandardNormal": lambda: StandardNormal(LATENT),
    "GaussianMixture": lambda: GaussianMixture(LATENT, components=4),
    "VampPrior": lambda: VampPrior(LATENT, components=5),
}
LIKELIHOODS = {
    "Bernoulli": lambda shape: Bernoulli(),
    "Gaussian": lambda shape: Gaussian(0.5),
    "Gaussian-pixel": lambda shape: Gaussian(0.5, shape=shape),
    "Gaussian-fixed": lambda shape: Gaussian(0.5, learn=False),
    "DiscretizedLogistic": lambda shape: DiscretizedLogistic(5, scale=0.3),
    "DiscretizedLogistic-pixel": lambda shape: DiscretizedLogistic(5, scale=0.3, shape=shape),
    "Poisson": lambda shape: Poisson(),
}
DATA = {
    "Bernoulli": torch.round,
    "DiscretizedLogistic": lambda x: (4 * x).round() / 4,
    "Poisson": lambda x: (3 * x).round(),
}
GUIDES = {
    "MeanField": MeanField,
    "FullCovariance": FullCovariance,
    "Laplace-0": lambda *pair: Laplace(*pair, updates=0),
    "Laplace-2": lambda *pair: Laplace(*pair, updates=2),
    "Laplace-detach": lambda *pair: Laplace(*pair, updates=2, detach=True),
    "SemiAmortized": lambda *pair: SemiAmortized(*pair, steps=2, lr=0.1),
    "InverseAutoregressiveFlow": lambda *pair: InverseAutoregressiveFlow(*pair, hidden=(8,)),
    "Householder": Householder,
    "LowRank": LowRank,
}
NETWORKS = {
    "mlp": (
        lambda shape: MLPDecoder(LATENT, shape, hidden=(16,)),
        lambda shape: MLPEncoder(shape, hidden=(16,)),
    ),
    "conv": (
        lambda shape: ConvDecoder(LATENT, shape, channels=(4, 3), hidden=16),
        lambda shape: ConvEncoder(shape, channels=(3, 4), hidden=16),
    ),
}
SHAPES = [("mlp", (5,)), *((net, shape) for net in NETWORKS for shape in [(1, 8, 8), (3, 9, 7)])]
LOSSES = {
    "ELBO": ELBO,
    "ELBO-particles": lambda: ELBO(num_particles=3),
    "ELBO-warmup": lambda: ELBO(beta=Warmup(4)),
}
STOCK_LOSSES = {"Trace_ELBO": Trace_ELBO, "TraceMeanField_ELBO": TraceMeanField_ELBO}

# Every likelihood under the first prior, every other prior under the first likelihood, each with every guide that fits.
MODELS = [(each, "StandardNormal") for each in LIKELIHOODS] + [("Bernoulli", each) for each in [*PRIORS][1:]]
FEW = ("SemiAmortized", "InverseAutoregressiveFlow", "Householder", "LowRank")  # which meet two models in place of all
TWO = [("Gaussian", "StandardNormal"), ("Bernoulli", "GaussianMixture")]
SYSTEMS = [
    (g, *model)
    for g in GUIDES
    for model in (TWO if g.startswith(FEW) else MODELS)
    if not (g.startswith("Laplace") and model[1] == "VampPrior")
]


def systems(chosen):
    return pytest.mark.parametrize(("guide", "likelihood", "prior"), chosen, ids=map("-".join, chosen))


every_system = systems(SYSTEMS)
# Every model under one guide of either kind, every guide under one model: enough where the two do not interact.
every_part = systems([s for s in SYSTEMS if s[0] in {"MeanField", "Laplace-2"} or s[1:] == TWO[0]])
every_prior = pytest.mark.parametrize("prior", PRIORS)
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)
every_guide = pytest.mark.parametrize("guide", GUIDES)
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_shape = pytest.mark.parametrize(("network", "shape"), SHAPES, ids=str)


def build(guide="MeanField", likelihood="Bernoulli", network="mlp", shape=(1, 8, 8), prior="StandardNormal"):
    """A model, a guide and a batch that the likelihood accepts."""
    decoder, encoder = NETWORKS[network]
    vae = VAE(decoder(shape), PRIORS[prior](), LIKELIHOODS[likelihood](shape))
    x = torch.rand(BATCH, *shape)
    return vae, GUIDES[guide](vae, encoder(shape)), DATA.get(likelihood.split("-")[0], torch.clone)(x)


def named_parameters(vae, guide):
    """All parameters that the pair must train: a detached search leaves the encoder without gradient."""
    detached = getattr(guide, "detach", False)
    own = () if detached else guide.named_parameters(prefix="guide")
    return {name: p for name, p in [*vae.named_parameters(prefix="vae"), *own] if p.requires_grad}


def moved(before, pair):
    """Names of the parameters that differ from what they were."""
    return {name for name, p in named_parameters(*pair).items() if not torch.equal(p, before[name])}


@pytest.fixture
def no_refinement_noise(monkeypatch):
    """Two calls of a guide that draws while it refines its posterior would differ by these draws."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


def snapshot(pair):
    return {name: p.detach().clone() for name, p in named_parameters(*pair).items()}


def train(vae, guide, x, loss, steps=6):
    svi = SVI(vae, guide, Adam({"lr": 1e-2}), loss)
    return [svi.step(x) for _ in range(steps)]


def check_that_it_trains(pair, x, loss, steps=6):
    before = snapshot(pair)
    losses = train(*pair, x, loss, steps)
    assert torch.tensor(losses).isfinite().all()
    assert not (still := before.keys() - moved(before, pair)), f"never moved: {sorted(still)}"


# --- shapes, sites, gradients -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_refinement_noise")
@every_shape
@every_system
def test_shapes_with_leading_dimensions(network, shape, guide, likelihood, prior):
    vae, guide, x = build(guide, likelihood, network, shape, prior)
    many = torch.stack([x, x.flip(0)])
    q = guide.posterior(many)
    assert (q.batch_shape, q.event_shape) == ((2, BATCH), (LATENT,))
    point = torch.randn(LATENT)
    alone = guide.posterior(x.flip(0)).log_prob(point)
    torch.testing.assert_close(q.log_prob(point)[1], alone, rtol=1e-3, atol=1e-4)
    z = q.rsample((5,))
    assert (z.shape, q.log_prob(z).shape) == ((5, 2, BATCH, LATENT), (5, 2, BATCH))
    assert vae.decode(z).shape == (5, 2, BATCH, *shape)
    log_joint = vae.log_joint(x, z[:, 0])
    assert log_joint.shape == (5, BATCH)
    torch.testing.assert_close(log_joint[3], vae.log_joint(x, z[3, 0]))
    assert vae.sample(7).shape == (7, *shape)
    vae.likelihood.check(vae.sample(7))


@every_shape
@every_part
def test_sites_and_plate(network, shape, guide, likelihood, prior):
    vae, guide, x = build(guide, likelihood, network, shape, prior)
    for particles, sizes in [(1, (BATCH,)), (3, (3, BATCH))]:
        model_trace, guide_trace = paired_traces(vae, guide, x, num_particles=particles)
        assert set(model_trace.stochastic_nodes) - {"particles"} == {"data", "z"}
        assert model_trace.observation_nodes == ["x"]
        assert set(guide_trace.stochastic_nodes) - {"particles"} == {"data", "z"}
        for site in (model_trace.nodes["z"], model_trace.nodes["x"], guide_trace.nodes["z"]):
            assert site["log_prob"].shape == sizes
            assert ("data", -1, BATCH) in [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]]
        log_joint = vae.log_joint(x, guide_trace.nodes["z"]["value"])
        torch.testing.assert_close(sum(model_trace.nodes[name]["log_prob"] for name in "zx"), log_joint)


@every_shape
@every_system
def test_every_parameter_receives_a_finite_gradient(network, shape, guide, likelihood, prior):
    vae, guide, x = build(guide, likelihood, network, shape, prior)
    ELBO().differentiable_loss(vae, guide, x).backward()
    for name, p in named_parameters(vae, guide).items():
        assert p.grad is not None, f"{name} receives no gradient"
        assert p.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert p.grad.any(), f"the gradient of {name} is zero"


@every_loss
@every_guide
def test_terms_are_per_datum(guide, loss):
    vae, guide, x = build(guide)
    terms = LOSSES[loss]().terms(vae, guide, x)
    assert {name: term.shape for name, term in terms.items()} == {"reconstruction": (BATCH,), "kl": (BATCH,)}


# --- sample and log-density agree ---------------------------------------------------------------------------


def check_sample_against_density(q, other, draws=20_000):
    """E_q[r / q] = 1 for a normalised r inside q: neither the sampler nor the normaliser can be off."""
    z = q.sample((draws,))
    ratio = (other.log_prob(z) - q.log_prob(z)).exp()
    assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / draws**0.5).all()
    standard_error = z.std(0) / draws**0.5
    with contextlib.suppress(NotImplementedError):  # a flow has no mean in closed form
        assert ((z.mean(0) - q.mean).abs() < 5 * standard_error).all()


@every_prior
def test_prior_sample_and_density_agree(prior):
    p: Prior = build(prior=prior)[0].prior
    other = MultivariateNormal(p().mean, 0.5 * torch.diag(p().variance))
    check_sample_against_density(p(), other)


@every_prior
def test_prior_score_and_precision(prior):
    p, z = build(prior=prior)[0].prior, torch.randn(2, 5, LATENT)
    torch.testing.assert_close(p.score(z), Prior.score(p, z))
    assert torch.linalg.eigvalsh(p.precision(z)).min() > 0


@pytest.mark.parametrize("guide", GUIDES)
def test_posterior_sample_and_density_agree(guide):
    _, guide, x = build(guide)
    with torch.no_grad():
        q = guide.posterior(x)
        draws = q.sample((5000,))
        covariance = torch.stack([draw.T.cov() for draw in draws.unbind(1)])
        check_sample_against_density(q, MultivariateNormal(draws.mean(0), 0.5 * covariance))


@every_likelihood
def test_likelihood_sample_and_density_agree(likelihood):
    shape = (5,)
    module, features = LIKELIHOODS[likelihood](shape), torch.randn(BATCH, *shape)
    p = module(features)
    with torch.no_grad():
        other = Independent(Normal(features, 0.4), 1) if likelihood.startswith("Gaussian") else module(0.8 * features)
        check_sample_against_density(p, other)


@every_likelihood
def test_model_samples_have_the_decoded_mean(likelihood):
    vae, _, _ = build(likelihood=likelihood)
    draws = 4000
    with torch.no_grad():
        difference = vae.sample(draws) - vae.decode(vae.prior().sample((draws,)))
    assert (difference.mean(0).abs() < 5 * difference.std(0) / draws**0.5).all()


# --- training in stock Pyro ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", {**LOSSES, **STOCK_LOSSES})
@every_part
def test_moves_under_stock_svi(guide, likelihood, prior, loss):
    vae, guide, x = build(guide, likelihood, prior=prior)
    check_that_it_trains((vae, guide), x, {**LOSSES, **STOCK_LOSSES}[loss]())


@every_system
def test_training_lowers_the_loss_and_leaves_what_is_fixed(guide, likelihood, prior):
    vae, guide, x = build(guide, likelihood, prior=prior)
    losses = train(vae, guide, x, ELBO(), steps=60)
    assert sum(losses[-10:]) < sum(losses[:10])
    if likelihood == "Gaussian-fixed":
        assert vae.likelihood.log_scale.exp().item() == pytest.approx(0.5)


@pytest.mark.parametrize("second", GUIDES)
@pytest.mark.parametrize("loss", [ELBO, Trace_ELBO])
def test_two_runs_in_one_process_both_train(second, loss):
    for name in ("MeanField", second):
        vae, guide, x = build(name, "Gaussian")
        check_that_it_trains((vae, guide), x, loss())


def test_two_guides_under_one_model_both_train():
    vae, first, x = build("MeanField", "Gaussian")
    for guide in (first, FullCovariance(vae, MLPEncoder((1, 8, 8), hidden=(16,)))):
        check_that_it_trains((vae, guide), x, ELBO())


@every_part
@pytest.mark.parametrize("after_training", [False, True])
def test_deep_copies_are_independent_and_train(guide, likelihood, prior, after_training):
    vae, guide, x = build(guide, likelihood, prior=prior)
    if after_training:
        train(vae, guide, x, ELBO())
    pairs = [(vae, guide), copy.deepcopy((vae, guide))]
    assert pairs[1][1].vae is pairs[1][0]
    for pair, other in (pairs, pairs[::-1]):
        rest = snapshot(other)
        check_that_it_trains(pair, x, Trace_ELBO())
        assert not moved(rest, other), "training one moved the other"


def test_unannounced_leaves_the_store_empty():
    vae, guide, x = build()
    with unannounced():
        with unannounced():
            guide(x)
        vae(x)
        Trace_ELBO().loss(vae, guide, x)
    assert not list(pyro.get_param_store())
    guide(x)
    assert len(list(pyro.get_param_store())) == len(list(guide.parameters()))


@pytest.mark.usefixtures("no_refinement_noise")
@every_guide
def test_vectorised_particles_of_pyro(guide):
    vae, guide, x = build(guide, "Gaussian")
    particles = 400
    with torch.no_grad():
        vectorised = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        single = torch.tensor([Trace_ELBO().loss(vae, guide, x) for _ in range(particles)])
        value = vectorised.loss(vae, guide, x)
    standard_error = single.std() * (2 / particles) ** 0.5
    assert abs(value - single.mean()) < 5 * standard_error
    check_that_it_trains((vae, guide), x, Trace_ELBO(num_particles=3, vectorize_particles=True))


# --- modules ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_refinement_noise")
@every_shape
@every_part
def test_state_dict_round_trip(network, shape, guide, likelihood, prior):
    (vae, q, x), (other_vae, other_q, _) = (build(guide, likelihood, network, shape, prior) for _ in range(2))
    file = io.BytesIO()
    torch.save([vae.state_dict(), q.state_dict()], file)
    file.seek(0)
    for module, state in zip((other_vae, other_q), torch.load(file, weights_only=True), strict=True):
        module.load_state_dict(state)
    z = torch.randn(BATCH, LATENT)
    assert torch.equal(vae.log_joint(x, z), other_vae.log_joint(x, z))
    assert torch.equal(q.posterior(x).log_prob(z), other_q.posterior(x).log_prob(z))


@every_system
def test_guide_registers_nothing_of_the_model(guide, likelihood, prior):
    vae, guide, _ = build(guide, likelihood, prior=prior)
    assert guide.vae is vae
    assert not {*map(id, guide.parameters())} & {*map(id, vae.parameters())}
    assert not {*guide.modules()} & {*vae.modules()}
    own = {"flows"} if isinstance(guide, InverseAutoregressiveFlow) else set()
    assert {name.split(".")[0] for name in guide.state_dict()} == {"encoder", "head", *own}


@every_shape
@every_part
def test_batch_of_one_in_float64(network, shape, guide, likelihood, prior):
    vae, guide, x = build(guide, likelihood, network, shape, prior)
    vae, guide, x = vae.double(), guide.double(), x[:1].double()
    terms = ELBO(num_particles=2).terms(vae, guide, x)
    for name, term in terms.items():
        assert (term.shape, term.dtype) == ((1,), torch.float64), name
        assert term.isfinite().all(), name
    assert vae.sample(1).dtype == vae.log_joint(x, guide(x)).dtype == torch.float64


@pytest.mark.usefixtures("no_refinement_noise")
@every_guide
def test_a_datum_does_not_depend_on_its_batch(guide):
    _, guide, x = build(guide, "Gaussian")
    whole, alone = guide.posterior(x), guide.posterior(x[1:2])
    z = torch.randn(LATENT)
    torch.testing.assert_close(whole.log_prob(z)[1:2], alone.log_prob(z), rtol=1e-4, atol=1e-4)


def test_the_model_conditions_and_replays_as_any_pyro_model():
    vae, _, x = build()
    z = torch.randn(BATCH, LATENT)
    trace = poutine.trace(poutine.condition(vae, data={"z": z})).get_trace(x)
    torch.testing.assert_close(trace.log_prob_sum(), vae.log_joint(x, z).sum())


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_decoder_of_another_latent_size_is_refused():
    with pytest.raises(InputError, match=r"prior's size 3 .*same latent size"):
        VAE(MLPDecoder(2, (5,), hidden=()), StandardNormal(3), Bernoulli())


def test_a_likelihood_shared_by_data_of_other_dimensions_is_refused():
    likelihood = Bernoulli()
    VAE(MLPDecoder(2, (5,)), StandardNormal(2), likelihood)
    with pytest.raises(InputError, match="give each VAE a likelihood of its own"):
        VAE(MLPDecoder(2, (1, 2, 2)), StandardNormal(2), likelihood)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_priors_refuse_sizes(size):
    with pytest.raises(InputError, match=f"latent_dim is {size}"):
        StandardNormal(size)
