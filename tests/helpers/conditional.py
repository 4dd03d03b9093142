"""Conditional pairs, and the plain pairs that are the same distributions."""

import copy

import torch
from torch import nn

from pyro_vaes import VAE, ConditionalVAE
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal

SHAPE, Z, N = (1, 4, 4), 2, 5


class Fixed(nn.Module):
    """A network of two arguments with the second one fixed: the same label, or vector, for every datum."""

    def __init__(self, network, y):
        super().__init__()
        self.network, self.y = network, y
        if hasattr(network, "out_features"):
            self.out_features = network.out_features

    def forward(self, inputs):
        return self.network(inputs, self.y)


def conditional(condition_dim=1, prior=None, likelihood=None, seed=0):
    """A conditional model in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = MLPDecoder(Z + condition_dim, SHAPE, hidden=(8,))
        return ConditionalVAE(decoder, prior or StandardNormal(Z), likelihood or Bernoulli(), condition_dim).double()


def plain(model, guide, y):
    """The ``VAE`` and guide that a conditional pair with this condition, of one row, is; of equal weights."""
    vae = VAE(Fixed(copy.deepcopy(model.decoder), y), copy.deepcopy(model.prior), copy.deepcopy(model.likelihood))
    same = copy.deepcopy(guide, {id(model): vae})
    same.__dict__["vae"] = vae
    for name in ("encoder", "encoders"):
        part = getattr(same, name, None)
        if isinstance(part, nn.ModuleList):
            setattr(same, name, nn.ModuleList(Fixed(each, y) for each in part))
        elif part is not None:
            setattr(same, name, Fixed(part, y))
    return vae, same


def encoder():
    return MLPEncoder(SHAPE, hidden=(8,)).double()


class ConditionalLinearGaussian:
    """The model x = W z + V c + b + σ ε with z ~ N(0, I), and its closed forms."""

    def __init__(self, condition_dim=3, scale=0.5):
        torch.manual_seed(1)
        decoder = MLPDecoder(Z + condition_dim, SHAPE, hidden=())
        self.model = ConditionalVAE(decoder, StandardNormal(Z), Gaussian(scale, learn=False), condition_dim).double()
        self.scale = self.model.likelihood.log_scale.detach().exp()
        layer = decoder[0]
        with torch.no_grad():
            layer.weight.normal_()
            layer.bias.normal_()
        self.weight, self.offsets, self.bias = layer.weight[:, :Z], layer.weight[:, Z:], layer.bias
        self.encoder = nn.Flatten(start_dim=-len(SHAPE))
        self.encoder.out_features = self.bias.numel()

    def centered(self, x, c):
        return x.flatten(1) - self.bias - c @ self.offsets.T

    @torch.no_grad()
    def log_evidence(self, x, c):
        covariance = self.weight @ self.weight.T + self.scale**2 * torch.eye(self.bias.numel()).double()
        zero = torch.zeros_like(self.bias)
        return torch.distributions.MultivariateNormal(zero, covariance).log_prob(self.centered(x, c))

    @torch.no_grad()
    def posterior(self, x, c):
        precision = torch.eye(Z).double() + self.weight.T @ self.weight / self.scale**2
        covariance = torch.linalg.inv(precision)
        return self.centered(x, c) @ self.weight @ covariance / self.scale**2, covariance
