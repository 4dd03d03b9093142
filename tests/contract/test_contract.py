"""The contract, over lists of priors, likelihoods, networks, guides and losses; by the checks that users run too."""

import pytest
import torch
from pyro.distributions.transforms import affine_coupling, spline
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyro_vaes import testing
from pyro_vaes.errors import InputError
from pyro_vaes.guides import (
    BoostedMixture,
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
from pyro_vaes.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    HeteroscedasticGaussian,
    NegativeBinomial,
    Poisson,
    Standardized,
    StudentT,
    ZeroInflated,
)
from pyro_vaes.losses import ELBO, IWAE, MixtureELBO, RecursiveMixtureELBO, SemiSupervisedELBO, Warmup
from pyro_vaes.priors import (
    AutoregressiveFlow,
    ConvolutionalFlow,
    FlowPrior,
    GaussianMixture,
    HierarchicalPrior,
    StandardNormal,
    VampPrior,
)
from pyro_vaes.testing.models import float64_and_a_batch_of_one, shapes, sites_and_plate, state_dict_round_trip
from pyro_vaes.testing.pairs import NETWORKS, no_inner_noise
from pyro_vaes.testing.training import assert_trains, gradients_are_finite

PRIORS = {
    "StandardNormal": StandardNormal,
    "GaussianMixture": lambda size: GaussianMixture(size, components=4),
    "GaussianMixture-full": lambda size: GaussianMixture(size, 4, learn_weights=False, full_covariance=True),
    "VampPrior": lambda size: VampPrior(size, components=5),
    "AutoregressiveFlow": lambda size: AutoregressiveFlow(size, flows=2, hidden=(8,)),
    "ConvolutionalFlow": lambda size: ConvolutionalFlow(size, (1, 1, size), flows=2, channels=(8,)),
    "FlowPrior": lambda size: FlowPrior(size, [spline(size), affine_coupling(size, [8]).inv]),
    "HierarchicalPrior": lambda size: HierarchicalPrior(size, hidden=(8,)),
}
LIKELIHOODS = {
    "Bernoulli": lambda shape: Bernoulli(),
    "Gaussian": lambda shape: Gaussian(0.5),
    "Gaussian-pixel": lambda shape: Gaussian(0.5, shape=shape),
    "Gaussian-fixed": lambda shape: Gaussian(0.5, learn=False),
    "DiscretizedLogistic": lambda shape: DiscretizedLogistic(5, scale=0.3),
    "DiscretizedLogistic-pixel": lambda shape: DiscretizedLogistic(5, scale=0.3, shape=shape),
    "Poisson": lambda shape: Poisson(),
    "NegativeBinomial": lambda shape: NegativeBinomial(shape),
    "ZeroInflated-Poisson": lambda shape: ZeroInflated(shape, Poisson()),
    "ZeroInflated-NegativeBinomial": lambda shape: ZeroInflated(shape, NegativeBinomial()),
    "NegativeBinomial-sizes": lambda shape: NegativeBinomial(shape, size_factors=True),
    "ZeroInflated-sizes": lambda shape: ZeroInflated(shape, Poisson(size_factors=True)),
    "Categorical": lambda shape: Categorical(shape, num_bins=5),
    "StudentT": lambda shape: StudentT(scale=0.5),
    "HeteroscedasticGaussian": HeteroscedasticGaussian,
    "Standardized": lambda shape: Standardized(shape, Gaussian(0.5)),
}
GUIDES = {
    "MeanField": MeanField,
    "FullCovariance": FullCovariance,
    "Laplace-0": lambda *pair: Laplace(*pair, updates=0),
    "Laplace-2": lambda *pair: Laplace(*pair, updates=2),
    "Laplace-detach": lambda *pair: Laplace(*pair, updates=2, detach=True),
    "Laplace-search": lambda *pair: Laplace(*pair, updates=2, line_search=True),
    "SemiAmortized": lambda *pair: SemiAmortized(*pair, steps=2, lr=0.1),
    "InverseAutoregressiveFlow": lambda *pair: InverseAutoregressiveFlow(*pair, hidden=(8,)),
    "Householder": Householder,
    "LowRank": LowRank,
    "Mixture": lambda *pair: Mixture(*pair, components=2),
    "RecursiveMixture": lambda *pair: RecursiveMixture(*pair, components=3),
    "BoostedMixture": lambda *pair: BoostedMixture(*pair, components=2),
}
LOSSES = {
    "ELBO": (ELBO, "MeanField"),
    "ELBO-particles": (lambda: ELBO(num_particles=3), "Laplace-2"),
    "ELBO-warmup": (lambda: ELBO(beta=Warmup(4)), "FullCovariance"),
    "ELBO-sticking": (lambda: ELBO(sticking_the_landing=True), "MeanField"),
    "SemiSupervisedELBO": (SemiSupervisedELBO, "MeanField"),
    "IWAE": (lambda: IWAE(num_particles=3), "MeanField"),
    "IWAE-dreg": (lambda: IWAE(num_particles=3, dreg=True), "Laplace-2"),
    "MixtureELBO": (MixtureELBO, "Mixture"),
    "RecursiveMixtureELBO": (RecursiveMixtureELBO, "RecursiveMixture"),
}
SHAPES = [("mlp", (5,)), *((network, shape) for network in NETWORKS for shape in [(1, 8, 8), (3, 9, 7)])]

# Every likelihood under the first prior, every other prior under the first likelihood, with a guide of either kind;
# every guide under two of these: enough where the two do not interact.
MODELS = [(each, "StandardNormal") for each in LIKELIHOODS] + [("Bernoulli", each) for each in [*PRIORS][1:]]
TWO = [("Gaussian", "StandardNormal"), ("Bernoulli", "GaussianMixture")]
SYSTEMS = [
    (guide, *model)
    for guide in GUIDES
    for model in (MODELS if guide in {"MeanField", "Laplace-2"} else TWO)
    if not (guide.startswith("Laplace") and model[1] == "VampPrior")
]


def _takes_seconds(guide, likelihood, prior):
    """Whether each check differentiates a flow twice for every update; one flow is enough after each change."""
    return guide == "Laplace-2" and prior in {"ConvolutionalFlow", "FlowPrior"}


every_system = pytest.mark.parametrize(
    ("guide", "likelihood", "prior"),
    [pytest.param(*each, marks=[pytest.mark.slow] if _takes_seconds(*each) else []) for each in SYSTEMS],
    ids=map("-".join, SYSTEMS),
)
every_prior = pytest.mark.parametrize("prior", PRIORS)
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)
every_guide = pytest.mark.parametrize("guide", GUIDES)
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_shape = pytest.mark.parametrize(("network", "shape"), SHAPES, ids=str)


def every(checks):
    return pytest.mark.parametrize("check", checks, ids=[check.__name__ for check in checks])


def build(guide="MeanField", likelihood="Bernoulli", prior="StandardNormal", shape=(1, 8, 8), network="mlp"):
    """A function that makes a model, a guide and a batch that the likelihood accepts."""
    return lambda: testing.pair(GUIDES[guide], lambda: LIKELIHOODS[likelihood](shape), PRIORS[prior], shape, network)


@every(testing.GUIDE_CHECKS)
@every_system
def test_guide(check, guide, likelihood, prior):
    check(build(guide, likelihood, prior))


@every([shapes, sites_and_plate, gradients_are_finite, state_dict_round_trip, float64_and_a_batch_of_one])
@every_shape
@every_guide
def test_guide_on_other_shapes(check, guide, network, shape):
    check(build(guide, "Gaussian", shape=shape, network=network))


@every(testing.PRIOR_CHECKS)
@every_prior
def test_prior(check, prior):
    check(build(prior=prior))


@every(testing.LIKELIHOOD_CHECKS)
@pytest.mark.parametrize("shape", [(5,), (1, 2, 3)], ids=str)
@every_likelihood
def test_likelihood(check, likelihood, shape):
    check(build(likelihood=likelihood, shape=shape))


@every(testing.LOSS_CHECKS)
@every_loss
def test_loss(check, loss):
    make, guide = LOSSES[loss]
    check(lambda: testing.pair(GUIDES[guide], lambda: Gaussian(0.5), loss=make))


@every_likelihood
def test_model_samples_have_the_decoded_mean(likelihood):
    vae = build(likelihood=likelihood)().model
    draws = 4000
    with torch.no_grad():
        difference = vae.sample(draws) - vae.decode(vae.prior().sample((draws,)))
    assert (difference.mean(0).abs() < 5 * difference.std(0) / draws**0.5).all()


def test_training_leaves_what_is_fixed():
    pair = build(likelihood="Gaussian-fixed")()
    assert_trains(pair, ELBO())
    assert pair.model.likelihood.log_scale.exp().item() == pytest.approx(0.5)


@every_guide
def test_trains_under_pyro_s_mean_field_loss(guide):
    assert_trains(build(guide, "Gaussian")(), TraceMeanField_ELBO())


def test_two_guides_under_one_model_both_train():
    first = build(likelihood="Gaussian")()
    assert_trains(first, ELBO())
    second = FullCovariance(first.model, NETWORKS["mlp"][1]((1, 8, 8)))
    assert_trains(first._replace(guide=second), ELBO())


@every_guide
def test_vectorized_particles_of_pyro(guide):
    pair = build(guide, "Gaussian")()
    vae, guide, x, _ = pair
    particles = 400
    with torch.no_grad(), no_inner_noise():
        vectorized = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        single = torch.tensor([Trace_ELBO().loss(vae, guide, x) for _ in range(particles)])
        value = vectorized.loss(vae, guide, x)
    standard_error = single.std() * (2 / particles) ** 0.5
    assert abs(value - single.mean()) < 5 * standard_error
    assert_trains(pair, Trace_ELBO(num_particles=3, vectorize_particles=True))


@every_guide
def test_names_in_the_state_of_a_guide(guide):
    guide = build(guide)().guide
    own = {"flows"} if isinstance(guide, InverseAutoregressiveFlow) else set()
    own |= {"encoders", "heads", "gates"} if isinstance(guide, Mixture) else set()
    assert {name.split(".")[0] for name in guide.state_dict()} == {"encoder", "head", *own}


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_priors_refuse_sizes(size):
    with pytest.raises(InputError, match=f"latent_dim is {size}"):
        StandardNormal(size)
