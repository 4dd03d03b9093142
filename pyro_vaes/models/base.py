"""What models of several latents share, and their guides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.param_store import register_params


class LevelsModel(nn.Module):
    """Base class of models p(z_1, ..., z_L) p(x | z); calling one with a batch x is the Pyro model.

    A new one implements :meth:`draw`, :meth:`features` and :meth:`log_prior`.

    Args:
        decoder: the module behind :meth:`features`.
        likelihood: p(x | features).
        latent_dims: sizes of the latents, the lowest level's first.

    Attributes:
        priors: the priors that are no conditionals, the lowest level's first.
        features_shape: shape of the decoder's output for one datum.

    Shapes:
        ``x (B, *event_shape)``; calling it gives z_1 to z_L, ``(B, Z_l)`` each; ``log_joint`` takes
        ``z_l (..., B, Z_l)``, for ``(..., B)``.

    Raises:
        InputError: where the decoder does not take latents of these sizes.
    """

    priors: Any  # a list of them, in whatever form the model holds it

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, latent_dims: Sequence[int]) -> None:
        super().__init__()
        self.decoder, self.likelihood = decoder, likelihood
        self.latent_dims = tuple(latent_dims)
        self.features_shape = self._probe().shape[1:]
        likelihood.set_event_dim(len(self.features_shape))

    def draw(self) -> list[Tensor]:
        """Sample the latents' sites, inside the plate; gives z_1 to z_L."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw()")

    def features(self, *z: Tensor) -> Tensor:
        """Features of the likelihood at z_1 to z_L."""
        raise NotImplementedError(f"{type(self).__name__} must implement features(*z)")

    def log_prior(self, *z: Tensor) -> Tensor:
        """Log p(z_1, ..., z_L) in nats, clusters summed out."""
        raise NotImplementedError(f"{type(self).__name__} must implement log_prior(*z)")

    def forward(self, x: Tensor) -> list[Tensor]:
        """The Pyro model: the latents' sites and ``x`` (observed) in the plate ``data``; gives z_1 to z_L."""
        register_params(self)
        with pyro.plate("data", len(x)):
            z = self.draw()
            pyro.sample("x", self.likelihood(self.features(*z)), obs=x)
        return z

    def decode(self, *z: Tensor) -> Tensor:
        """E[x | z]: each ``(..., Z_l)`` to ``(..., *event_shape)``."""
        return self.likelihood.mean(self.features(*z))

    def decode_from(self, level: int, *z: Tensor) -> Tensor:
        """E[x | z] with the levels below ``level``, counted from 1, as they follow from it; here nothing follows."""
        return self.decode(*z)

    def log_joint(self, x: Tensor, *z: Tensor) -> Tensor:
        """Log p(x, z) in nats: ``x (B, *event_shape)`` and each ``z_l (..., B, Z_l)`` to ``(..., B)``."""
        return self.log_prior(*z) + self.likelihood(self.features(*z)).log_prob(x)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """N draws of x from the model, shape ``(n, *event_shape)``."""
        return self.likelihood(self.features(*self.sample_latents(n))).sample()

    @torch.no_grad()
    def sample_latents(self, n: int) -> list[Tensor]:
        """N draws of z_1 to z_L from the model, each ``(n, Z_l)``."""
        with poutine.block(), pyro.plate("data", n):
            return self.draw()

    @torch.no_grad()
    def _probe(self) -> Tensor:
        """Features at z = 0, with a message where the decoder and the latents do not fit."""
        like = next(self.decoder.parameters(), torch.empty(0))
        training = self.decoder.training
        self.decoder.eval()
        try:
            return self.features(*(like.new_zeros(1, size) for size in self.latent_dims))
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"the decoder does not take latents of the sizes {self.latent_dims}, lowest level first ({error}): "
                "give priors and decoder the same latent sizes"
            ) from error
        finally:
            self.decoder.train(training)


class LevelsGuide(nn.Module):
    """Base class of guides of several latents, or discrete ones; calling one with a batch x is the Pyro guide.

    Args:
        vae: the model; not registered here, its parameters stay its own.

    Attributes:
        vae: the model.
        analytic_kl: whether losses take the KL in closed form where one is registered.
        loss: name of the loss in ``pyro_vaes.losses`` that trains this guide unless another is given.

    Shapes:
        ``x (B, *event_shape)``; calling it gives z_1 to z_L, ``(B, Z_l)`` each.
    """

    vae: nn.Module
    analytic_kl: bool = True
    loss: str = "ELBO"

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.__dict__["vae"] = vae  # past nn.Module, which would register the model's parameters here too


def level_features(encoder: nn.Module, levels: int) -> tuple[int, ...]:
    """Sizes of the features that an encoder gives at each level, from its attribute ``out_features``.

    Raises:
        InputError: where it does not say, or has another number of levels.
    """
    sizes = getattr(encoder, "out_features", None)
    if not isinstance(sizes, Sequence):
        raise InputError(
            f"{type(encoder).__name__} does not say how many features it gives at each level: "
            "set its attribute `out_features` to their sizes, such as (256, 256), and return a list of features"
        )
    if len(sizes) != levels:
        raise InputError(
            f"{type(encoder).__name__} gives features of {len(sizes)} levels, but the model has {levels}: "
            f"give it {levels}"
        )
    return tuple(sizes)
