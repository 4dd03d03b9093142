"""The mean-field step in JAX, by hand and as NumPyro's SVI takes it, with the networks of a pair of this library.

Both compile a scan over several steps, so that Python takes part once per scan, and donate the weights to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from jax import Array
from numpyro.infer import SVI, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_vaes import VAE, guides

Layers = list[tuple[Array, Array]]  # weight (in, out) and bias of each
Networks = tuple[Layers, Layers]  # encoder with its head, and decoder

LR = 1e-3
OFFSET = 1e-4  # of a scale


def networks(vae: VAE, guide: guides.MeanField) -> Networks:
    """The weights of encoder and decoder, copied."""
    return _layers(guide.encoder, guide.head), _layers(vae.decoder)


def negative_elbo(weights: Networks, x: Array, noise: Array) -> Array:
    """Mean over the batch, with the KL in closed form.

    Args:
        weights: encoder and decoder.
        x: binary data, ``(B, D)``.
        noise: of the draws, ``(B, Z)``.
    """
    encoder, decoder = weights
    mean, scale = _moments(encoder, x)
    logits = _outputs(decoder, mean + scale * noise)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    kl = (0.5 * (mean**2 + scale**2 - 1) - jnp.log(scale)).sum(-1)
    return (kl + cross_entropy).mean()


def training(vae: VAE, guide: guides.MeanField, x: Tensor, steps: int) -> Callable[[], Array]:
    """A function that takes gradient steps on one batch, written by hand; returns the loss of each."""
    optimizer, data = optax.adam(LR), _data(x)

    def step(carry: Any, _: None) -> tuple[Any, Array]:
        weights, moments, key = carry
        key, own = jax.random.split(key)
        noise = jax.random.normal(own, (len(data), vae.latent_dim))
        loss, gradients = jax.value_and_grad(negative_elbo)(weights, data, noise)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(weights, updates), moments, key), loss

    weights = networks(vae, guide)
    return _scanned(step, (weights, optimizer.init(weights), jax.random.key(0)), steps)


def svi_training(vae: VAE, guide: guides.MeanField, x: Tensor, steps: int) -> Callable[[], Array]:
    """The same in NumPyro: its SVI, with the KL in closed form."""
    data, (encoder, decoder) = _data(x), networks(vae, guide)

    def model() -> None:
        layers = numpyro.param("decoder", decoder)
        with numpyro.plate("data", len(data)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(vae.latent_dim), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=_outputs(layers, z)).to_event(1), obs=data)

    def posterior() -> None:
        mean, scale = _moments(numpyro.param("encoder", encoder), data)
        with numpyro.plate("data", len(data)):
            numpyro.sample("z", dist.Normal(mean, scale).to_event(1))

    svi = SVI(model, posterior, numpyro.optim.optax_to_numpyro(optax.adam(LR)), TraceMeanField_ELBO())
    return _scanned(lambda state, _: svi.update(state), svi.init(jax.random.key(0)), steps)


def _scanned(step: Callable[[Any, None], tuple[Any, Array]], carry: Any, steps: int) -> Callable[[], Array]:
    """A function that goes on by this many steps from where it was, and waits for the last."""

    @partial(jax.jit, donate_argnums=0)
    def scan(carry: Any) -> tuple[Any, Array]:
        return jax.lax.scan(step, carry, length=steps)

    def call() -> Array:
        nonlocal carry
        carry, losses = scan(carry)
        return losses.block_until_ready()

    return call


def _layers(*modules: nn.Module) -> Layers:
    layers = [each for module in modules for each in module.modules() if isinstance(each, nn.Linear)]
    return [(_data(each.weight).T.copy(), _data(each.bias)) for each in layers]


def _data(values: Tensor) -> Array:
    return jnp.array(values.detach().flatten(1).numpy() if values.dim() > 1 else values.detach().numpy())


def _outputs(layers: Layers, values: Array) -> Array:
    for weight, bias in layers[:-1]:
        values = jax.nn.relu(values @ weight + bias)
    weight, bias = layers[-1]
    return values @ weight + bias


def _moments(encoder: Layers, x: Array) -> tuple[Array, Array]:
    mean, raw = jnp.split(_outputs(encoder, x), 2, axis=-1)
    return mean, jax.nn.softplus(raw) + OFFSET
