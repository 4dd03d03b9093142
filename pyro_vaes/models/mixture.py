"""The mixture model with explicit clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models.cluster_init import CHUNK
from pyro_vaes.models.cluster_posterior import ClusterParameters, ClusterPosterior, draw_clustered
from pyro_vaes.models.clustered import ClusteredModel
from pyro_vaes.networks.probe import check_encoder
from pyro_vaes.networks.shapes import out_features
from pyro_vaes.plate import batch_plate
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.vae import VAE, Guide


class MixtureVAE(ClusteredModel, VAE):
    """The model p(x, y, z) = p(y) p(z | y) p(x | decoder(z)) of data in clusters y.

    It is the ``VAE`` whose prior is a Gaussian mixture, with the component as a site ``y`` of its own. ``log_joint``
    is that of x and z, y summed out. Labels of some data, ``model(x, y)``, are clusters that are known, see
    :class:`~pyro_vaes.models.ClusteredModel`.

    Args:
        decoder: any module ``z (..., Z) -> features (..., *features_shape)``.
        prior: p(y) and p(z | y), a component a cluster.
        likelihood: p(x | features).

    Shapes:
        ``x (B, *event_shape)``, ``y (B,)`` and ``z (B, Z)``; ``log_joint`` takes ``z (..., B, Z)``, for ``(..., B)``.

    Raises:
        InputError: If the prior has no components, or the decoder does not take its latents.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014), model M2, in the
        unsupervised form with p(z | y) that is known as GM-DGM.

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> guide = MixtureGuide(model, encoder)
        >>> sorted(pv.losses.ELBO().terms(model, guide, x)), guide.clusters(x)["y"].shape
        (['kl', 'kl_y', 'kl_z', 'reconstruction'], torch.Size([4, 3]))
    """

    prior: GaussianMixture

    def __init__(self, decoder: nn.Module, prior: GaussianMixture, likelihood: Likelihood) -> None:
        if not isinstance(prior, GaussianMixture):
            raise InputError(
                f"the prior is a {type(prior).__name__}, which has no clusters: take priors.GaussianMixture"
            )
        super().__init__(decoder, prior, likelihood)

    @property
    def clustered(self) -> Mapping[str, GaussianMixture]:
        """The prior, by site."""
        return {"z": self.prior}

    def draw(self) -> list[Tensor]:
        """Sites ``y`` and ``z``."""
        return [draw_clustered(self.prior, "z")]


class MixtureGuide(Guide):
    """The posterior q(y | x) q(z | x, y) of a mixture model; losses sum y out exactly.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``; ``clusters(x)`` are ``(B, K)``.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014).

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> MixtureGuide(model, encoder).posterior(x).event_shape
        torch.Size([2])
    """

    vae: MixtureVAE
    loss = "SemiSupervisedELBO"  # the ELBO where there are no labels

    def __init__(self, vae: MixtureVAE, encoder: nn.Module) -> None:
        super().__init__(vae, encoder)
        self.head: Any = self._head(encoder, encoder)

    def local_parameters(self, x: Tensor) -> ClusterParameters:
        """The parameters of q(y | x) q(z | x, y)."""
        return self.head(*self._features(x))

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> NormalMixture:
        """q(z | x) = Σ_y q(y | x) q(z | x, y), batch shape ``(..., B)`` and event shape ``(Z,)``."""
        return ClusterParameters(*parameters).marginal()

    def clusters(self, x: Tensor) -> dict[str, Tensor]:
        """q(y | x) by the site's name: ``{"y": (B, K)}``."""
        return {"y": self.local_parameters(x).clusters().probs}

    def fit_clusters(self, x: Tensor, clusters: Mapping[str, Tensor]) -> None:
        """Set q(y | x) to the clusters ``(N,)`` of the data, by the latent's site."""
        self.head.fit(torch.cat([self._features(batch)[-1] for batch in x.split(CHUNK)]), clusters["z"])

    def start_from(self, mean_field: Guide) -> None:
        """Start at the mean-field posterior for every cluster, exactly so if the encoder ends with a ReLU.

        q(y | x) stays as it is: ``models.initialize_from_codes`` sets it.
        """
        posterior, self.head = self.head, nn.Linear(*self.head.head.weight.shape[::-1])
        try:
            super().start_from(mean_field)
            posterior.start_from(self.head)
        finally:
            self.head = posterior

    def forward(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro guide: the sites ``y`` and ``z`` in the plate ``data``, given labels y; returns z by site."""
        with batch_plate(self, self.vae, x, y, mask) as (guide, x):
            labels = guide.vae.labels(guide.given.get("y"), len(x))
            return {"z": ClusterParameters(*guide.local_parameters(x)).draw("z", labels.get("z"))}

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features of q(z | x, y), and those of q(y | x) if they are others."""
        return (self.encode(x),)

    def _head(self, encoder: nn.Module, cluster_encoder: nn.Module) -> ClusterPosterior:
        sizes = len(self.vae.prior.logits), self.vae.latent_dim
        return ClusterPosterior(out_features(encoder), *sizes, out_features(cluster_encoder))


class TwoEncoderMixtureGuide(MixtureGuide):
    """The posterior q(y | x) q(z | x, y) of a mixture model with a network of its own for each of the two.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``, of q(z | x, y).
        cluster_encoder: another one, of q(y | x).

    Shapes:
        As for :class:`MixtureGuide`.

    Raises:
        InputError: If one of the encoders does not take the model's data.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014); GM-DGM.

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> guide = TwoEncoderMixtureGuide(model, encoder, pv.networks.MLPEncoder((1, 8, 8), hidden=(8,)))
        >>> guide.clusters(x)["y"].shape
        torch.Size([4, 3])
    """

    def __init__(self, vae: MixtureVAE, encoder: nn.Module, cluster_encoder: nn.Module) -> None:
        super().__init__(vae, encoder)
        check_encoder(cluster_encoder, vae.event_shape, has_head=True)
        self.cluster_encoder = cluster_encoder
        self.head = self._head(encoder, cluster_encoder)

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encode(x), self.cluster_encoder(self.vae.likelihood.filled_encoder_input(x))
