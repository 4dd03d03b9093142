"""What a recipe builds, and from which settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pyro_vaes import guides, likelihoods, priors
from pyro_vaes.losses import Loss
from pyro_vaes.naming import build
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.training import check_seed
from pyro_vaes.vae import VAE, Guide


@dataclass(frozen=True)
class Settings:
    """Sizes and training settings of a system; the defaults are small ones, for 2 cores.

    Attributes:
        guide: name of the guide, with options if any, in place of the recipe's own.
        likelihood: name of the likelihood, with options if any.
        prior: name of the prior, with options if any.
        latent_dim: size Z of the latent.
        hidden: hidden layers of encoder and, reversed, decoder.
        epochs: passes through the training data.
        batch_size: data a gradient step.
        lr: Adam's learning rate.
    """

    guide: str | None = None
    likelihood: str = "gaussian"
    prior: str = "standard-normal"
    latent_dim: int = 16
    hidden: Sequence[int] = (256, 256)
    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-3


class System(NamedTuple):
    """A model, its guide and the loss that trains them."""

    model: VAE
    guide: Guide
    loss: Loss


def build_vae(event_shape: Sequence[int], settings: Settings) -> VAE:
    """The plain VAE of some settings, with a fully connected decoder.

    Raises:
        InputError: for sizes, a likelihood or a prior that do not exist.

    Example:
        >>> build_vae((1, 8, 8), Settings(latent_dim=2)).latent_dim
        2
    """
    likelihood = build("likelihood", likelihoods, likelihoods.Likelihood, settings.likelihood)
    decoder = MLPDecoder(settings.latent_dim, event_shape, tuple(reversed(settings.hidden)))
    prior = build("prior", priors, priors.Prior, settings.prior, settings.latent_dim)
    return VAE(decoder, prior, likelihood)


def build_guide(text: str, vae: VAE, event_shape: Sequence[int], settings: Settings) -> Guide:
    """The guide of a name with options, such as ``laplace(updates=1)``, with a fully connected encoder.

    Raises:
        InputError: for an unknown guide or option, or a guide that the model's prior cannot be made of.

    Example:
        >>> build_guide("laplace(updates=1)", build_vae((1, 8, 8), Settings()), (1, 8, 8), Settings()).updates
        1
    """
    guide = build("guide", guides, Guide, text, vae, MLPEncoder(event_shape, settings.hidden))
    vae.prior()  # a prior that is made of the guide says here whether it can be
    return guide


def build_seeded(
    recipe: Callable[[Sequence[int], Settings], System],
    event_shape: Sequence[int],
    settings: Settings,
    seed: int,
) -> System:
    """What a recipe builds, with initial weights that depend on the seed alone; the random state is left as it was.

    Recipes build the model first, so that its initial weights are the same under every guide.

    Raises:
        InputError: for settings or a seed that cannot be used.

    Example:
        >>> from pyro_vaes.recipes import laplace, vae
        >>> first, second = (build_seeded(recipe, (4,), Settings(), seed=0).model for recipe in (vae, laplace))
        >>> all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
        True
    """
    check_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return recipe(event_shape, settings)
