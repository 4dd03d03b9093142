"""A model, a guide and a batch for a loss."""

import torch

from pyro_vaes import VAE
from pyro_vaes.guides import FullCovariance, Laplace, MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal

SHAPE, BATCH = (1, 4, 4), 3
GUIDES = {
    "MeanField": MeanField,
    "FullCovariance": FullCovariance,
    "Laplace": lambda *pair: Laplace(*pair, updates=2),
}


def build(guide="MeanField", likelihood=None):
    vae = VAE(MLPDecoder(2, SHAPE, hidden=(8,)), StandardNormal(2), likelihood or Gaussian(0.5))
    guide = GUIDES[guide](vae, MLPEncoder(SHAPE, hidden=(8,)))
    return vae, guide, torch.rand(BATCH, *SHAPE)
