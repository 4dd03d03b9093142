"""Pairs to save, and what their files hold."""

import torch
from safetensors import safe_open
from torch import nn

import pyro_vaes as pv
from pyro_vaes.recipes import RECIPES, Settings

SHAPE = (1, 8, 8)
X = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


def build(recipe="vae", **changes):
    return RECIPES[recipe](SHAPE, Settings(**{**vars(RECIPES[recipe].small), **changes}))


def by_hand(features=6, guide=pv.guides.MeanField):
    """A pair with a network of the user's own."""
    encoder = nn.Sequential(nn.Flatten(-3), nn.Linear(64, features))
    decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(-1, SHAPE))
    model = pv.VAE(decoder, pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    return model, guide(model, encoder)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        own = other.state_dict()
        assert [*one.state_dict()] == [*own]
        for name, value in one.state_dict().items():
            assert value.dtype == own[name].dtype, name
            assert torch.equal(value, own[name]), name


def content(file):
    """The tensors and the metadata of a file, as anyone reads them."""
    with safe_open(file, framework="pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.offset_keys()}, stream.metadata()
