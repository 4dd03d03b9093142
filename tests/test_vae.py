"""VAE: a model like any other of Pyro's, of parts that fit each other."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import transform_to

from pyro_vaes import VAE, compare, fit
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, PixelCNN
from pyro_vaes.models import ConditionalNormal, HierarchicalVAE, LadderVAE
from pyro_vaes.networks import LadderMLPDecoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import Prior, StandardNormal, VampPrior
from pyro_vaes.testing.pairs import BATCH, pair


def test_the_model_conditions_and_replays_as_any_pyro_model():
    vae, _, x, _ = pair()
    z = torch.randn(BATCH, vae.latent_dim)
    trace = poutine.trace(poutine.condition(vae, data={"z": z})).get_trace(x)
    torch.testing.assert_close(trace.log_prob_sum(), vae.log_joint(x, z).sum())


def test_a_decoder_of_another_latent_size_is_refused():
    with pytest.raises(InputError, match=r"prior's size 3 .*same latent size"):
        VAE(MLPDecoder(2, (5,), hidden=()), StandardNormal(3), Bernoulli())


class Own(Prior):
    """A prior of any distribution."""

    def __init__(self, make, size=2):
        super().__init__(size)
        self.make = make

    def forward(self):
        return self.make()


BOUNDED = {
    r"Own has the support interval\(lower_bound=-1, upper_bound=1\)": (
        lambda: dist.Uniform(-torch.ones(2), torch.ones(2)).to_event(1)
    ),
    r"support greaterthan\(lower_bound=0\)": lambda: dist.LogNormal(torch.zeros(2), 1.0).to_event(1),
    "support simplex": lambda: dist.Dirichlet(torch.ones(2)),
    "support boolean": lambda: dist.Bernoulli(0.5 * torch.ones(2)).to_event(1),
}
MODELS = {
    "VAE": lambda prior: VAE(MLPDecoder(2, (5,)), prior, Gaussian()),
    "LadderVAE": lambda prior: LadderVAE(
        LadderMLPDecoder((2, 2), (5,), hidden=((4,), (4,))), [StandardNormal(2), prior], Gaussian()
    ),
    "HierarchicalVAE": lambda prior: HierarchicalVAE(
        MLPDecoder(3, (5,)), prior, [ConditionalNormal(MLPEncoder((2,)), size=3)], Gaussian()
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("words", BOUNDED)
def test_a_prior_without_all_of_the_space_is_refused_by_its_support(model, words):
    with pytest.raises(InputError, match=rf"{words}, but the support must be R\^Z.*transform it"):
        MODELS[model](Own(BOUNDED[words]))


def test_a_model_of_ones_own_is_told_by_its_guide():
    vae = MODELS["VAE"](StandardNormal(2))
    vae.prior = Own(BOUNDED["support simplex"])
    with pytest.raises(InputError, match=r"the support must be R\^Z"):
        MeanField(vae, MLPEncoder((5,)))


@pytest.mark.parametrize("model", MODELS)
def test_transformed_as_the_message_says_it_is_taken(model):
    def unconstrained():
        uniform = dist.Uniform(-torch.ones(2), torch.ones(2)).to_event(1)
        return dist.TransformedDistribution(uniform, transform_to(uniform.support).inv)

    vae = MODELS[model](Own(unconstrained))
    assert vae.sample(3).shape == (3, 5)
    assert vae.log_prior(*(torch.zeros(4, size) for size in vae.latent_dims)).isfinite().all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dist.Normal(torch.zeros(2), 1.0), r"batch shape \(2,\) and event shape \(\), .*\.to_event\(1\)"),
        (lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1), r"event shape \(3,\), expected \(\) and \(2,\)"),
        (lambda: dist.Normal(torch.zeros(4, 2), 1.0).to_event(1), r"batch shape \(4,\)"),
    ],
    ids=["no event", "another size", "a batch"],
)
def test_a_prior_of_another_shape_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        VAE(MLPDecoder(2, (5,)), Own(make), Bernoulli())


class OneEvent(Likelihood):
    """A likelihood whose event is the last dimension alone."""

    def forward(self, features):
        return dist.Normal(features, 1.0).to_event(1)


class TwoMaps(Likelihood):
    """Location and scale of each pixel, two feature maps for each channel."""

    def forward(self, features):
        loc, raw_scale = features.chunk(2, -3)
        return self.to_event(dist.Normal(loc, torch.nn.functional.softplus(raw_scale) + 0.01))


@pytest.mark.parametrize(
    ("likelihood", "features", "words"),
    [
        (OneEvent, (1, 4, 4), r"batch shape \(1, 1, 4\) and event shape \(4,\), expected one event for each datum"),
        (TwoMaps, (5,), "does not take the decoder's features"),
        (lambda: Gaussian(shape=(3, 4, 4)), (1, 4, 4), r"scales of shape \(3, 4, 4\), but .* \(1, 4, 4\)"),
        (lambda: DiscretizedLogistic(shape=(1, 1, 5)), (5,), r"scales of shape \(1, 1, 5\), but .* \(5,\)"),
        (lambda: PixelCNN((1, 4, 4), features=2), (1, 4, 4), "expects maps"),
    ],
    ids=["wrong event", "vectors", "scales of more channels", "scales of more dimensions", "number of maps"],
)
def test_a_likelihood_that_does_not_take_the_features_is_refused(likelihood, features, words):
    with pytest.raises(InputError, match=words):
        VAE(MLPDecoder(2, features), StandardNormal(2), likelihood())


def test_the_shape_of_a_datum_is_that_of_the_likelihoods_event():
    assert VAE(MLPDecoder(2, (2, 4, 4)), StandardNormal(2), TwoMaps()).event_shape == (1, 4, 4)
    pixelcnn = PixelCNN((3, 4, 4), features=2, layers=2, channels=3)
    assert VAE(MLPDecoder(2, (2, 4, 4)), StandardNormal(2), pixelcnn).event_shape == (3, 4, 4)
    prior = VampPrior(2, components=3)
    vae = VAE(MLPDecoder(2, (2, 4, 4)), prior, TwoMaps())
    MeanField(vae, MLPEncoder((1, 4, 4)))
    assert prior.pseudo_inputs.shape == (3, 1, 4, 4)


class OwnNormal(Likelihood):
    """A likelihood of a user's own."""

    def forward(self, features):
        return self.to_event(dist.Normal(features, 1.0))


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
COLORS = Data.from_arrays(x_train=PIXELS, channels="first")


@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian, OwnNormal], ids=lambda each: each.__name__)
@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4, 3), (48,)])
def test_data_of_another_shape_are_refused_before_training(likelihood, shape):
    vae = VAE(MLPDecoder(2, shape, hidden=(4,)), StandardNormal(2), likelihood())
    guide = MeanField(vae, MLPEncoder(shape, hidden=(4,)))
    before = [value.clone() for value in vae.parameters()]
    words = rf"shape \(3, 4, 4\), but the model's have \({', '.join(map(str, shape))},?\)"
    with pytest.raises(InputError, match=words):
        fit(vae, guide, COLORS, epochs=1, device="cpu", progress=False)
    assert all(map(torch.equal, before, vae.parameters()))
    with pytest.raises(InputError, match=words):
        compare(COLORS, {"own": (vae, guide)}, seeds=[0], out="nowhere", progress=False)


def test_a_likelihood_shared_by_data_of_other_dimensions_is_refused():
    likelihood = Bernoulli()
    VAE(MLPDecoder(2, (5,)), StandardNormal(2), likelihood)
    with pytest.raises(InputError, match="give each model a likelihood of its own"):
        VAE(MLPDecoder(2, (1, 2, 2)), StandardNormal(2), likelihood)
