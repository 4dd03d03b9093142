"""The ladder of mixtures: the data clustered once a level, each time by other attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import pyro
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models.cluster_init import CHUNK
from pyro_vaes.models.cluster_posterior import ClusterParameters, ClusterPosterior, cluster_site, draw_clustered
from pyro_vaes.models.clustered import ClusteredModel
from pyro_vaes.models.conditional_normal import normal
from pyro_vaes.models.ladder import LadderGuide, LadderVAE
from pyro_vaes.plate import batch_plate
from pyro_vaes.priors import GaussianMixture, Prior
from pyro_vaes.vae import Posteriors


class LadderMixtureVAE(ClusteredModel, LadderVAE):
    """A ladder with Gaussian mixtures on some of its levels, p(y_l) p(z_l | y_l).

    A cluster is summed out in closed form by the mixture's density unless it is asked for as a site, ``"y2"`` for
    level 2. Without, the guide is q(z_l | x) and q(y_l | x) follows from p(y_l | z_l), for one pass of the decoder;
    with, it is q(y_l | x) q(z_l | x, y_l), for a pass for each of the clusters, or of their combinations where several
    levels are asked for. ``log_joint`` is that of x and z_1 to z_L either way. Labels of some data are known clusters
    of those that are sites, see :class:`~pyro_vaes.models.ClusteredModel`.

    Args:
        decoder: any module ``[z_1, ..., z_L] -> features``, the lowest level first.
        priors: p(z_l) of each level, the lowest first; a ``GaussianMixture`` clusters.
        likelihood: p(x | features).
        cluster_sites: clusters that are sites, such as ``["y2"]``.

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``; ``log_joint`` takes
        ``z_l (..., B, Z_l)``, for ``(..., B)``.

    Raises:
        InputError: If no latent has a mixture, or one of ``cluster_sites`` is not that of a mixture.

    References:
        Variational ladder autoencoder clustering, VLAC (Willetts, Roberts, Holmes, 2019), of which the abstract
        fixes the claim and not the structure: this structure is the project's;
        Multi-Facet Clustering Variational Autoencoders (Falck et al., 2021).

    Example:
        >>> import pyro_vaes as pv
        >>> from pyro_vaes.networks.ladder import LadderMLPDecoder, LadderMLPEncoder
        >>> priors = [pv.priors.StandardNormal(2), pv.priors.GaussianMixture(3, components=4)]
        >>> decoder = LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> model = LadderMixtureVAE(decoder, priors, pv.likelihoods.Gaussian(), cluster_sites=["y2"])
        >>> guide = LadderMixtureGuide(model, LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))))
        >>> sorted(pv.losses.ELBO().terms(model, guide, x))
        ['kl', 'kl_y2', 'kl_z1', 'kl_z2', 'reconstruction']
    """

    def __init__(
        self, decoder: nn.Module, priors: Sequence[Prior], likelihood: Likelihood, cluster_sites: Sequence[str] = ()
    ) -> None:
        super().__init__(decoder, priors, likelihood)
        clustered = [cluster_site(site) for site, prior in self.priors.items() if isinstance(prior, GaussianMixture)]
        if not clustered:
            raise InputError("no latent has clusters: give one a priors.GaussianMixture, or take LadderVAE")
        if not all(site in clustered for site in cluster_sites):
            raise InputError(
                f"cluster_sites is {cluster_sites!r}: expected a list of some of {clustered}, the clusters of the "
                "latents with a GaussianMixture"
            )
        self.cluster_sites = frozenset(cluster_sites)

    @property
    def clustered(self) -> Mapping[str, GaussianMixture]:
        """The mixture priors whose clusters are sites, by the latent's site."""
        return {
            site: prior
            for site, prior in self.priors.items()
            if isinstance(prior, GaussianMixture) and cluster_site(site) in self.cluster_sites
        }

    def draw(self) -> list[Tensor]:
        """Sites ``z1`` to ``zL``, and those of ``cluster_sites``."""
        clustered = self.clustered
        return [
            draw_clustered(clustered[site], site) if site in clustered else pyro.sample(site, prior())
            for site, prior in self.priors.items()
        ]


class LadderMixtureGuide(LadderGuide):
    """Posterior of a ladder of mixtures: q(y_l | x) q(z_l | x, y_l) where y_l is a site, else q(z_l | x).

    Args:
        vae: the model.
        encoder: any module ``x -> [h_1, ..., h_L]`` with their sizes in ``out_features``.

    Shapes:
        ``posteriors(x)`` have batch shape ``(..., B)`` and event shapes ``(Z_l,)``, by site;
        ``clusters(x)`` are ``(B, K_l)``.

    References:
        Variational ladder autoencoder clustering, VLAC (Willetts, Roberts, Holmes, 2019).

    Example:
        >>> import pyro_vaes as pv
        >>> priors = [pv.priors.StandardNormal(2), pv.priors.GaussianMixture(3, components=4)]
        >>> decoder = pv.networks.LadderMLPDecoder((2, 3), (1, 8, 8), hidden=((16,), (8,)))
        >>> model = LadderMixtureVAE(decoder, priors, pv.likelihoods.Gaussian())
        >>> guide = LadderMixtureGuide(model, pv.networks.LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))))
        >>> {site: q.shape for site, q in guide.clusters(x).items()}
        {'y2': torch.Size([4, 4])}
    """

    vae: LadderMixtureVAE
    loss = "SemiSupervisedELBO"  # the ELBO where there are no labels

    @torch.no_grad()
    def clusters(self, x: Tensor, num_samples: int = 100) -> dict[str, Tensor]:
        """q(y_l | x) of each clustered latent, by the name ``y1`` … that its site has or would have.

        Where y_l is summed out, it is E[p(y_l | z_l)] over z_l ~ q(z_l | x), estimated from draws.

        Args:
            x: the data, ``(B, *event_shape)``.
            num_samples: number of draws of each datum.

        Shapes:
            ``(B, K_l)`` each.
        """
        clusters = {}
        for site, parameters in self._by_site(x).items():
            prior = self.vae.priors[site]
            if isinstance(parameters, ClusterParameters):
                clusters[cluster_site(site)] = parameters.clusters().probs
            elif isinstance(prior, GaussianMixture):
                draws = normal(parameters).sample((num_samples,))
                clusters[cluster_site(site)] = prior.responsibilities(draws).mean(0)
        return clusters

    def fit_clusters(self, x: Tensor, clusters: Mapping[str, Tensor]) -> None:
        """Set q(y_l | x) of each cluster that is a site to the clusters ``(N,)`` of the data, by the latent's site."""
        features = zip(*(self.encode(batch) for batch in x.split(CHUNK)), strict=True)
        for (site, head), h in zip(self.heads.items(), features, strict=True):
            if isinstance(head, ClusterPosterior):
                head.fit(torch.cat(h), clusters[site])

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the head of each latent; of a cluster that is a site, its logits and the codes of each y."""
        outputs = (head(h) for head, h in zip(self.heads.values(), self.encode(x), strict=True))
        return tuple(chain.from_iterable(each if isinstance(each, tuple) else (each,) for each in outputs))

    def posteriors(self, x: Tensor) -> Posteriors:
        """q(z_l | x) by site, clusters summed out: batch shape ``(..., B)``, event shape ``(Z_l,)``."""
        return {
            site: each.marginal() if isinstance(each, ClusterParameters) else normal(each)
            for site, each in self._by_site(x).items()
        }

    def forward(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro guide: the latents and the model's ``cluster_sites`` in the plate ``data``, given labels y."""
        with batch_plate(self, self.vae, x, y, mask) as (guide, x):
            labels = guide.vae.labels(guide.given.get("y"), len(x))
            return {
                site: each.draw(site, labels.get(site))
                if isinstance(each, ClusterParameters)
                else pyro.sample(site, normal(each))
                for site, each in guide._by_site(x).items()
            }

    def _by_site(self, x: Tensor) -> dict[str, Tensor | ClusterParameters]:
        """The local parameters by site."""
        values = iter(self.local_parameters(x))
        return {
            site: ClusterParameters(next(values), next(values)) if site in self.vae.clustered else next(values)
            for site in self.vae.sites
        }

    def _head(self, site: str, size: int) -> nn.Module:
        if (prior := self.vae.clustered.get(site)) is None:
            return super()._head(site, size)
        return ClusterPosterior(size, len(prior.logits), prior.latent_dim)
