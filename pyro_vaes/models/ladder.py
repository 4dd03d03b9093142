"""The ladder: independent latents that enter one network at different depths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models.base import LevelsGuide, LevelsModel, level_features
from pyro_vaes.models.conditional_normal import normal
from pyro_vaes.param_store import register_params
from pyro_vaes.priors import Prior
from pyro_vaes.traces import total


class LadderVAE(LevelsModel):
    """The model p(x, z) = p(z_1) ... p(z_L) p(x | decoder(z)), whose decoder takes z_l at depth l.

    Low levels pass through little network and take simple features, high ones take abstract ones.

    Args:
        decoder: any module ``[z_1, ..., z_L] -> features``, the lowest level first, such as
            :class:`~pyro_vaes.networks.ladder.LadderMLPDecoder`.
        priors: p(z_l) of each level, the lowest first.
        likelihood: p(x | features).

    Shapes:
        ``x (B, *event_shape)``; calling it gives z_1 to z_L, ``(B, Z_l)`` each; ``log_joint`` takes
        ``z_l (..., B, Z_l)``, for ``(..., B)``.

    Raises:
        InputError: where the decoder does not take the priors' latents.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), there "variational
        ladder autoencoder".

    Example:
        >>> from pyro_vaes.likelihoods import Gaussian
        >>> from pyro_vaes.networks.ladder import LadderMLPDecoder
        >>> from pyro_vaes.priors import StandardNormal
        >>> decoder = LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> model = LadderVAE(decoder, [StandardNormal(2), StandardNormal(3)], Gaussian())
        >>> model.sample(4).shape, model.decode(torch.zeros(5, 2), torch.zeros(5, 3)).shape
        (torch.Size([4, 1, 8, 8]), torch.Size([5, 1, 8, 8]))
    """

    def __init__(self, decoder: nn.Module, priors: Sequence[Prior], likelihood: Likelihood) -> None:
        super().__init__(decoder, likelihood, [prior.latent_dim for prior in priors])
        self.priors = nn.ModuleList(priors)

    def draw(self) -> list[Tensor]:
        """Sites ``z1`` to ``zL``."""
        return [pyro.sample(f"z{level}", prior()) for level, prior in enumerate(self.priors, 1)]

    def features(self, *z: Tensor) -> Tensor:
        """Decoder([z_1, ..., z_L])."""
        return self.decoder(list(z))

    def log_prior(self, *z: Tensor) -> Tensor:
        """Σ_l log p(z_l)."""
        return total(prior().log_prob(value) for prior, value in zip(self.priors, z, strict=True))


class LadderGuide(LevelsGuide):
    """Independent normal posteriors q(z_l | x) = N(μ_l(h_l), diag σ_l(h_l)²) of a ladder.

    Args:
        vae: the model.
        encoder: any module ``x -> [h_1, ..., h_L]`` with their sizes in ``out_features``, such as
            :class:`~pyro_vaes.networks.ladder.LadderMLPEncoder`.

    Shapes:
        ``posteriors(x)`` have batch shape ``(..., B)`` and event shapes ``(Z_l,)``, the lowest level's first.

    Raises:
        InputError: where the encoder has another number of levels.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017).

    Example:
        >>> from pyro_vaes.likelihoods import Gaussian
        >>> from pyro_vaes.networks.ladder import LadderMLPDecoder, LadderMLPEncoder
        >>> from pyro_vaes.priors import StandardNormal
        >>> decoder = LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> model = LadderVAE(decoder, [StandardNormal(2), StandardNormal(3)], Gaussian())
        >>> guide = LadderGuide(model, LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))))
        >>> [q.event_shape for q in guide.posteriors(x)]
        [torch.Size([2]), torch.Size([3])]
    """

    vae: LadderVAE

    def __init__(self, vae: LadderVAE, encoder: nn.Module) -> None:
        super().__init__(vae)
        self.encoder = encoder
        sizes = level_features(encoder, len(vae.latent_dims))
        self.heads = nn.ModuleList(self._head(level, size) for level, size in enumerate(sizes))
        like = next(encoder.parameters(), torch.empty(0)).new_empty(vae.features_shape)
        for level, prior in enumerate(vae.priors):
            cast(Prior, prior).bind_posterior(partial(self._posterior_of, level), like)

    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's features of each level."""
        return self.encoder(x)

    def posteriors(self, x: Tensor) -> list[dist.TorchDistribution]:
        """q(z_l | x) of each level, the lowest first: batch shape ``(..., B)``, event shape ``(Z_l,)``."""
        return [self._posterior(head, h) for head, h in zip(self.heads, self.encoder(x), strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The Pyro guide: sites ``z1`` to ``zL`` in the plate ``data``; gives z_1 to z_L."""
        register_params(self)
        features = self.encoder(x)
        with pyro.plate("data", len(x)):
            return [self._draw(level, *pair) for level, pair in enumerate(zip(self.heads, features, strict=True), 1)]

    def _posterior_of(self, level: int, x: Tensor) -> dist.TorchDistribution:
        return self.posteriors(x)[level]

    def _head(self, level: int, size: int) -> nn.Module:
        return nn.Linear(size, 2 * self.vae.latent_dims[level])

    def _posterior(self, head: nn.Module, features: Tensor) -> dist.TorchDistribution:
        return normal(head(features))

    def _draw(self, level: int, head: nn.Module, features: Tensor) -> Tensor:
        return pyro.sample(f"z{level}", self._posterior(head, features))
