"""Models with clusters and their guides."""

import torch
from torch import nn

from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.losses import ELBO
from pyro_vaes.models import LadderMixtureGuide, LadderMixtureVAE, MixtureGuide, MixtureVAE, TwoEncoderMixtureGuide
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.testing.pairs import Pair

SHAPE, BATCH, K = (1, 6, 5), 4, 3


def mixture(components=K, likelihood=Bernoulli, prior=None):
    prior = GaussianMixture(2, components) if prior is None else prior()
    model = MixtureVAE(MLPDecoder(2, SHAPE, (8,)), prior, likelihood())
    return Pair(model, MixtureGuide(model, MLPEncoder(SHAPE, (8,))), model.sample(BATCH), ELBO())


def two_encoders():
    model = MixtureVAE(MLPDecoder(2, SHAPE, (8,)), GaussianMixture(2, K), Bernoulli())
    guide = TwoEncoderMixtureGuide(model, MLPEncoder(SHAPE, (8,)), MLPEncoder(SHAPE, (7,)))
    return Pair(model, guide, model.sample(BATCH), ELBO())


def ladder_mixture(cluster_sites=(), network="mlp", merge="gate"):
    priors = [GaussianMixture(2, K), StandardNormal(1), GaussianMixture(3, 2)]
    if network == "mlp":
        hidden = ((8,), (7,), (6,))
        decoder, encoder = LadderMLPDecoder((2, 1, 3), SHAPE, hidden, merge), LadderMLPEncoder(SHAPE, hidden)
    else:
        decoder, encoder = (
            LadderConvDecoder((2, 1, 3), SHAPE, (4, 3, 2), 8, merge, nn.ELU),
            LadderConvEncoder(SHAPE, (4, 3, 2), 8, nn.ELU),
        )
    model = LadderMixtureVAE(decoder, priors, Bernoulli(), cluster_sites)
    return Pair(model, LadderMixtureGuide(model, encoder), model.sample(BATCH), ELBO())


PAIRS = {
    "mixture": mixture,
    "one-component": lambda: mixture(1),
    "two-encoders": two_encoders,
    "full-covariance": lambda: mixture(prior=lambda: GaussianMixture(2, K, learn_weights=False, full_covariance=True)),
    "ladder": ladder_mixture,
    "ladder-top": lambda: ladder_mixture(["y3"]),
    "ladder-both": lambda: ladder_mixture(["y1", "y3"]),
    "ladder-conv": lambda: ladder_mixture(["y3"], "conv", "concatenate"),
}


def double(pair):
    return pair.model.double(), pair.guide.double(), pair.x.double()


def seeded(function, *args, seed=4):
    torch.manual_seed(seed)
    return function(*args)
