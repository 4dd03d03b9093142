"""The linear-Gaussian model, x = W z + b + σ ε, where posterior, evidence and gaps have closed forms."""

import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.guides import FullCovariance, Laplace, MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import StandardNormal


class LinearGaussian:
    """The model as a ``VAE`` in float64, a batch drawn from it, and its closed forms."""

    def __init__(self, latent_dim=3, event_shape=(1, 2, 4), scale=0.5, batch=5):
        decoder = MLPDecoder(latent_dim, event_shape, hidden=())
        self.vae = VAE(decoder, StandardNormal(latent_dim), Gaussian(scale, learn=False)).double()
        self.latent_dim = latent_dim
        self.scale = self.vae.likelihood.log_scale.exp()  # the model keeps its logarithm, rounded in float32
        with torch.no_grad():  # far from diagonal, so that a mean-field posterior pays
            decoder[0].weight.normal_(generator=torch.Generator().manual_seed(2))
        self.weight, self.bias = decoder[0].weight.detach(), decoder[0].bias.detach()
        self.x = self.vae.sample(batch)
        self.encoder = nn.Flatten(start_dim=-len(event_shape))  # the exact posterior is linear in the pixels
        self.encoder.out_features = self.weight.shape[0]

    @property
    def precision(self):
        return torch.eye(self.latent_dim).double() + self.weight.T @ self.weight / self.scale**2

    @property
    def covariance(self):
        return torch.linalg.inv(self.precision)

    @property
    def gain(self):
        """The matrix K of the posterior mean, K (x - b)."""
        return self.covariance @ self.weight.T / self.scale**2

    @property
    def mean(self):
        return (self.x.flatten(1) - self.bias) @ self.gain.T

    @property
    def log_evidence(self):
        noise = self.scale**2 * torch.eye(len(self.bias)).double()
        marginal = torch.distributions.MultivariateNormal(self.bias, self.weight @ self.weight.T + noise)
        return marginal.log_prob(self.x.flatten(1))

    @property
    def mean_field_scale(self):
        """σ of the best independent normal: its precision is the diagonal of Λ."""
        return self.precision.diagonal().rsqrt()

    @property
    def mean_field_gap(self):
        """KL of the best independent normal to the posterior, in nats."""
        return 0.5 * (self.precision.diagonal().log().sum() - torch.logdet(self.precision))

    def exact_guide(self):
        """A guide of the exact posterior: Laplace after one full Newton step."""
        return Laplace(self.vae, self.encoder, updates=1, step_size=1.0).double()

    @torch.no_grad()
    def set_optimal(self, guide, *scale_outputs):
        """Give a guide's head the exact mean, and constants for its remaining outputs."""
        guide.double()
        size = self.latent_dim
        guide.head.weight.zero_()
        guide.head.weight[:size] = self.gain
        guide.head.bias.copy_(torch.cat([-self.gain @ self.bias, *scale_outputs]))
        return guide


def inverse_positive(scale):
    """The raw output that ``guides.mean_field.positive`` maps to this scale."""
    return torch.expm1(scale - 1e-4).log()


def optimal_mean_field(linear):
    return linear.set_optimal(MeanField(linear.vae, linear.encoder), inverse_positive(linear.mean_field_scale))


def optimal_full_covariance(linear):
    factor = torch.linalg.cholesky(linear.covariance)
    relative = factor / factor.diagonal().unsqueeze(-1)
    below = relative[*torch.tril_indices(*factor.shape, -1)]
    guide = FullCovariance(linear.vae, linear.encoder)
    return linear.set_optimal(guide, inverse_positive(factor.diagonal()), below)
