"""The ladder: independent latents that enter one network at different depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
from torch import Tensor, nn

from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models.conditional_normal import normal
from pyro_vaes.networks.shapes import latent_features
from pyro_vaes.priors import Prior
from pyro_vaes.traces import total
from pyro_vaes.vae import Guide, LatentVariableModel, Posteriors


class LadderVAE(LatentVariableModel):
    """The model p(x, z) = p(z_1) ... p(z_L) p(x | decoder(z)), whose decoder takes z_l at depth l.

    Low levels pass through little network and take simple features, high ones take abstract ones.

    Args:
        decoder: any module ``[z_1, ..., z_L] -> features``, the lowest level first, such as
            :class:`~pyro_vaes.networks.ladder.LadderMLPDecoder`.
        priors: p(z_l) of each level, the lowest first.
        likelihood: p(x | features).

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``; ``log_joint`` takes
        ``z_l (..., B, Z_l)``, for ``(..., B)``.

    Raises:
        InputError: If the decoder does not take the priors' latents.

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
        for prior in priors:
            prior.probe()
        self.latent_priors = nn.ModuleDict(dict(zip(self.sites, priors, strict=True)))

    @property
    def priors(self) -> Mapping[str, Prior]:  # type: ignore[override]
        """The prior of each latent, by site."""
        return dict(self.latent_priors.items())  # type: ignore[arg-type]

    def draw(self) -> list[Tensor]:
        """Sites ``z1`` to ``zL``."""
        return [pyro.sample(site, prior()) for site, prior in self.priors.items()]

    def features(self, *z: Tensor) -> Tensor:
        """Decoder([z_1, ..., z_L])."""
        return self.decoder(list(z))

    def log_prior(self, *z: Tensor) -> Tensor:
        """Σ_l log p(z_l)."""
        return total(prior().log_prob(value) for prior, value in zip(self.priors.values(), z, strict=True))


class LadderGuide(Guide):
    """Independent normal posteriors q(z_l | x) = N(μ_l(h_l), diag σ_l(h_l)²) of a ladder.

    Args:
        vae: the model.
        encoder: any module ``x -> [h_1, ..., h_L]`` with their sizes in ``out_features``, such as
            :class:`~pyro_vaes.networks.ladder.LadderMLPEncoder`.

    Shapes:
        ``posteriors(x)`` have batch shape ``(..., B)`` and event shapes ``(Z_l,)``, by site.

    Raises:
        InputError: If the encoder gives features for another number of latents.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017).

    Example:
        >>> from pyro_vaes.likelihoods import Gaussian
        >>> from pyro_vaes.networks.ladder import LadderMLPDecoder, LadderMLPEncoder
        >>> from pyro_vaes.priors import StandardNormal
        >>> decoder = LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> model = LadderVAE(decoder, [StandardNormal(2), StandardNormal(3)], Gaussian())
        >>> guide = LadderGuide(model, LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))))
        >>> {site: q.event_shape for site, q in guide.posteriors(x).items()}
        {'z1': torch.Size([2]), 'z2': torch.Size([3])}
    """

    vae: LadderVAE

    def __init__(self, vae: LadderVAE, encoder: nn.Module) -> None:
        super().__init__(vae, encoder)
        sizes = latent_features(encoder, len(vae.latent_dims))
        self.heads = nn.ModuleDict({site: self._head(site, size) for site, size in zip(vae.sites, sizes, strict=True)})

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the head of each latent."""
        return tuple(head(h) for head, h in zip(self.heads.values(), self.encode(x), strict=True))

    def posteriors(self, x: Tensor) -> Posteriors:
        """q(z_l | x) by site: batch shape ``(..., B)``, event shape ``(Z_l,)``."""
        parameters = zip(self.vae.sites, self.local_parameters(x), strict=True)
        return {site: normal(outputs) for site, outputs in parameters}

    def _head(self, site: str, size: int) -> nn.Module:
        return nn.Linear(size, 2 * self.vae.latent_dims[self.vae.sites.index(site)])
