"""The density log p(x, z) of a batch, with all latents of an observation in one vector."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.marginal.curvature import curvature, score
from pyro_vaes.given import take
from pyro_vaes.networks.linearize import gauss_newton, linearize
from pyro_vaes.vae import VAE, LatentVariableModel


class Target:
    """Base class of log p(x, z) of a batch as a function of z; a new one implements `densities` and `prior_draws`.

    Args:
        model: the model.
        x: the batch, ``(B, *event_shape)``.
        sizes: number of coordinates of each latent site, Z in all.
        like: a tensor of the latents' dtype and device.

    Attributes:
        has_precision: whether :meth:`precision` knows more of the curvature than gradients tell.

    Shapes:
        ``z (S, B, Z)``, the sites in the order of ``sizes``, without bounds.
    """

    has_precision = False

    def __init__(self, model: Any, x: Tensor, sizes: Mapping[str, int], like: Tensor) -> None:
        self.model, self.x, self.sizes, self.like = model, x, dict(sizes), like

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z), ``(S, B)`` each."""
        raise NotImplementedError(f"{type(self).__name__} must implement densities(z)")

    def prior_draws(self, num_draws: int) -> Tensor:
        """Draws from p(z), ``(S, B, Z)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement prior_draws(num_draws)")

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(x, z), ``(S, B)``, differentiable."""
        log_prior, log_likelihood = self.densities(z)
        return log_prior + log_likelihood

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(x, z), ``(S, B, Z)``."""
        return score(self.log_joint, z)

    def precision(self, z: Tensor) -> Tensor:
        """A positive definite stand-in for -∇² log p(x, z), ``(S, B, Z, Z)`` in float64."""
        return curvature(self.log_joint, z)

    @property
    def latent_dim(self) -> int:
        """Number Z of coordinates."""
        return sum(self.sizes.values())

    @torch.no_grad()
    def values(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(x, z) and log p(z), ``(S, B)`` each, in float64; few draws at a time, so that memory is bounded.

        A density that overflows, far out in the tails, is 0.
        """
        parts = [self.densities(part.to(self.like)) for part in z.split(max(1, CHUNK_VALUES // self.x.numel()))]
        log_prior, log_likelihood = (torch.cat(each).double() for each in zip(*parts, strict=True))
        return (log_prior + log_likelihood).nan_to_num(nan=-math.inf, neginf=-math.inf), log_prior

    def take(self, index: Tensor) -> Self:
        """The target of some observations of the batch."""
        part = copy.copy(self)
        part.x, part.model = self.x[index], take(self.model, index)
        return part


class ModelTarget(Target):
    """The density of one of the library's models, with clusters summed out.

    Args:
        model: the model.
        x: the batch, ``(B, *event_shape)``.

    Attributes:
        observed: the batch of which the likelihood takes its offset, x unless x is completed later.

    Example:
        >>> target = ModelTarget(vae, x)
        >>> target.values(target.prior_draws(5))[0].shape, target.precision(target.prior_draws(5)).shape
        (torch.Size([5, 4]), torch.Size([5, 4, 2, 2]))
    """

    def __init__(self, model: LatentVariableModel, x: Tensor) -> None:
        sizes = dict(zip(model.sites, model.latent_dims, strict=True))
        super().__init__(model, x, sizes, torch.cat(model.sample_latents(1), -1))
        self.observed, self.has_precision = x, self._has_fisher()

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z), ``(S, B)`` each."""
        p = self.model.likelihood.observation(self._features(z), self.observed)
        return self._log_prior(z), p.log_prob(self.x)

    @torch.no_grad()
    def prior_draws(self, num_draws: int) -> Tensor:
        """Draws from p(z), ``(S, B, Z)``."""
        latents = torch.cat(self.model.sample_latents(num_draws * len(self.x)), -1)
        return latents.unflatten(0, (num_draws, len(self.x)))

    @torch.no_grad()
    def precision(self, z: Tensor) -> Tensor:
        """Jᵀ H J and the prior's curvature, with J the features' Jacobian and H the likelihood's Fisher information."""
        if not self.has_precision:
            return super().precision(z)
        at = linearize(self.model.decoder if isinstance(self.model, VAE) else self._features, z)
        likelihood = gauss_newton(at, self._fisher).double()
        rounding = torch.finfo(z.dtype).eps * likelihood.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        return likelihood + rounding * torch.eye(z.shape[-1]).to(likelihood) + curvature(self._log_prior, z)

    def take(self, index: Tensor) -> Self:
        """The target of some observations of the batch."""
        part = super().take(index)
        part.observed = self.observed[index]
        return part

    def _log_prior(self, z: Tensor) -> Tensor:
        return self.model.log_prior(*self.latents(z))

    def _features(self, z: Tensor) -> Tensor:
        return self.model.features(*self.latents(z))

    def _fisher(self, features: Tensor) -> Tensor:
        """The Fisher information of what was seen of x in flattened features."""
        shape = self.model.features_shape
        return self.model.likelihood.seen_fisher(features.unflatten(-1, shape), self.x).flatten(-len(shape))

    def latents(self, z: Tensor) -> tuple[Tensor, ...]:
        """Each latent, ``(S, B, Z_l)``."""
        return z.split(list(self.sizes.values()), -1)

    def _has_fisher(self) -> bool:
        try:
            self.model.likelihood.fisher(self.like.new_zeros(1, *self.model.features_shape))
        except NotImplementedError:
            return False
        return True
