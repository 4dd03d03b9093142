"""Guides whose posterior is a mixture, with a model."""

import torch

import pyro_vaes as pv

BOOSTED = [pv.guides.RecursiveMixture, pv.guides.BoostedMixture]
MIXTURES = [pv.guides.Mixture, *BOOSTED]


def pair(guide, components=3, seed=0, **options):
    torch.manual_seed(seed)
    vae = pv.VAE(pv.networks.MLPDecoder(2, (5,), (6,)), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(0.7))
    guide = guide(vae, pv.networks.MLPEncoder((5,), (6,)), components=components, **options)
    with torch.no_grad():
        for value in guide.gates.parameters():
            value += 0.3 * torch.randn_like(value)
    return vae.double(), guide.double()
