"""Pairs for steps that are written by hand, and their gradients."""

import torch

import pyro_vaes as pv

OPTIONS = {
    pv.guides.SemiAmortized: {"steps": 3, "lr": 0.5, "clip": 1.0},
    pv.guides.RecursiveMixture: {"components": 3, "bound": 0.1},
    pv.guides.BoostedMixture: {"entropy": 0.7},
}
SHAPE = (1, 4, 4)


def pair(kind, latent=3, dtype=torch.float64):
    """A pair and a batch; weights that start at zero, as gates and covariances do, are moved off it."""
    torch.manual_seed(0)
    likelihood = pv.likelihoods.Gaussian(scale=0.5) if kind is pv.guides.Laplace else pv.likelihoods.Bernoulli()
    vae = pv.VAE(pv.networks.MLPDecoder(latent, SHAPE, (8, 20)), pv.priors.StandardNormal(latent), likelihood)
    guide = kind(vae, pv.networks.MLPEncoder(SHAPE, (10,)), **OPTIONS.get(kind, {}))
    for parameter in (*vae.parameters(), *guide.parameters()):
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return vae.to(dtype), guide.to(dtype), torch.rand(6, *SHAPE).round().to(dtype)


def differentiated(loss, vae, guide, x):
    torch.manual_seed(1)
    value = loss(vae, guide, x)
    return value, torch.autograd.grad(value, [*vae.parameters(), *guide.parameters()])
