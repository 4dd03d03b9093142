"""Small models under a prior."""

from torch import nn

from pyro_vaes import VAE
from pyro_vaes.guides import FullCovariance, MeanField
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, VampPrior

SHAPE = (1, 4, 4)
AMORTIZED = {"MeanField": MeanField, "FullCovariance": FullCovariance}


def pair(prior, guide=MeanField, likelihood=None):
    model = VAE(MLPDecoder(2, SHAPE, hidden=(8,)), prior, likelihood or Bernoulli())
    return model, guide(model, MLPEncoder(SHAPE, hidden=(8,)))


def vamp(guide="MeanField", **options):
    return pair(VampPrior(2, components=6, **options), AMORTIZED[guide])


def uneven_mixture():
    prior = GaussianMixture(2, components=4).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    return prior
