"""The steps in JAX, against which speed is measured, do what the one written by hand in torch does."""

import importlib

import pytest
import torch

import pyro_vaes as pv
from benchmarks.baselines.by_hand import mean_field
from tests.helpers.by_hand import differentiated, pair

pytest.importorskip("numpyro")
pytest.importorskip("optax")
jax = pytest.importorskip("jax")


@pytest.fixture
def by_jax():
    return importlib.import_module("benchmarks.baselines.by_jax")


def test_value_and_gradients_equal_those_of_torch(by_jax):
    vae, guide, x = pair(pv.guides.MeanField, dtype=torch.float32)
    value, gradients = differentiated(mean_field, vae, guide, x)
    torch.manual_seed(1)
    noise = by_jax._data(torch.randn(len(x), vae.latent_dim))
    weights = by_jax.networks(vae, guide)
    found, slopes = jax.value_and_grad(by_jax.negative_elbo)(weights, by_jax._data(x), noise)
    assert found.item() == pytest.approx(value.item(), rel=1e-5)
    layers = [torch.tensor(part.__array__()) for network in reversed(slopes) for layer in network for part in layer]
    for one, other in zip(layers, gradients, strict=True):
        torch.testing.assert_close(one.T if one.dim() == 2 else one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["training", "svi_training"])
def test_steps_train(by_jax, name):
    vae, guide, x = pair(pv.guides.MeanField, dtype=torch.float32)
    call = getattr(by_jax, name)(vae, guide, x, steps=200)
    first, last = call(), call()
    assert first.shape == (200,)
    assert last[-50:].mean() < first[:50].mean()
