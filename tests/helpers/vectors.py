"""Small models of vectors."""

import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import inverse_positive


class Identity(nn.Module):
    """The encoder whose features are the pixels."""

    def __init__(self, size):
        super().__init__()
        self.out_features = size

    def forward(self, x):
        return x


def pair(latent_dim, scale):
    """A model of vectors, and the guide N(x, σ²) on them, in float64."""
    vae = VAE(MLPDecoder(latent_dim, (latent_dim,), hidden=(3,)), StandardNormal(latent_dim), Gaussian()).double()
    guide = MeanField(vae, Identity(latent_dim)).double()
    with torch.no_grad():
        guide.head.weight.copy_(torch.cat([torch.eye(latent_dim), torch.zeros(latent_dim, latent_dim)]))
        guide.head.bias[:latent_dim] = 0
        guide.head.bias[latent_dim:] = inverse_positive(torch.tensor(scale).double())
    return vae, guide


def small(guide=MeanField, likelihood=Bernoulli, **options):
    """A model of six binary pixels, a guide and a batch of four."""
    vae = VAE(MLPDecoder(2, (6,), hidden=(5,)), StandardNormal(2), likelihood())
    return vae, guide(vae, MLPEncoder((6,), hidden=(5,)), **options), torch.rand(4, 6).round()
