"""Parts of a user's own, sound ones and broken ones."""

import math
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import spline_coupling
from torch import nn

from pyro_vaes import VAE, Guide
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian, Likelihood
from pyro_vaes.networks import BatchApply
from pyro_vaes.priors import StandardNormal


class ScaleMap(Likelihood):
    """N(x; μ, σ²) with a map of μ and one of log σ for each channel."""

    def __init__(self, event_shape):
        super().__init__()
        self.features_shape = (2 * event_shape[0], *event_shape[1:])

    @classmethod
    def build(cls, event_shape, **options):
        return cls(event_shape, **options)

    def forward(self, features):
        mean, log_scale = features.chunk(2, dim=-self.event_dim)
        return self.to_event(dist.Normal(mean, log_scale.exp()))

    def seen(self, x):
        return torch.cat([~x.isnan()] * 2, dim=-self.event_dim)

    def fisher(self, features):
        precision = (-2 * features.chunk(2, dim=-self.event_dim)[1]).exp()
        return torch.cat([precision, torch.full_like(precision, 2)], dim=-self.event_dim)


class Spline(Guide):
    """A guide whose density has valleys, in one of which its mean may lie."""

    def __init__(self, vae, encoder, flows=1, **options):
        super().__init__(vae, encoder, outputs=2 * vae.latent_dim)
        self.flows = torch.nn.ModuleList([spline_coupling(vae.latent_dim, **options) for _ in range(flows)])

    def posterior(self, x):
        mean, log_scale = self.head(self.encode(x)).chunk(2, -1)
        return dist.TransformedDistribution(dist.Normal(mean, log_scale.exp()).to_event(1), list(self.flows))


class Changed(dist.TorchDistribution):
    """A distribution whose density, or the scale of whose draws, is multiplied."""

    arg_constraints: ClassVar = {}
    has_rsample = True

    def __init__(self, base, log_factor=0.0, scale=1.0):
        self.base, self.log_factor, self.scale = base, log_factor, scale
        super().__init__(base.batch_shape, base.event_shape)

    def log_prob(self, value):
        return self.base.log_prob(value) + self.log_factor

    def rsample(self, sample_shape=()):
        return self.scale * self.base.rsample(sample_shape)


class TooDense(Spline):
    """A guide whose density has an integral of 1.1."""

    def posterior(self, x):
        return Changed(super().posterior(x), log_factor=math.log(1.1))


class TooWide(Spline):
    """A guide whose draws scatter by a tenth more than their density says."""

    def posterior(self, x):
        return Changed(super().posterior(x), scale=1.1)


def convolutional(wrapped):
    """A model whose decoder has layers of one batch dimension."""

    def make():
        layers = (nn.Linear(2, 8), nn.Unflatten(1, (2, 2, 2)), nn.ReLU(), nn.ConvTranspose2d(2, 1, 2, 2))
        decoder = BatchApply(nn.Sequential(*layers)) if wrapped else nn.Sequential(*layers)
        model = VAE(decoder, StandardNormal(2), Gaussian())
        encoder = BatchApply(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh()), event_dim=3)
        return model, MeanField(model, encoder)

    return make
