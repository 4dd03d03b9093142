"""The base of models with clusters, of which labels may be known."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyro_vaes.data.labels import UNKNOWN
from pyro_vaes.errors import InputError
from pyro_vaes.given import Given
from pyro_vaes.models.cluster_posterior import cluster_site
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.vae import LatentVariableModel


class ClusteredModel(LatentVariableModel):
    """Base class of models of which some clusters are sites, and labels of some data may be clusters that are known.

    Calling one with labels, ``model(x, y)``, checks them. They count through the guide, whose q(y | x) is then a point
    mass, so that labeled and unlabeled data may share a batch, and clusters that no label shows are found as others.
    ``log_joint`` is that of x and the latents, with or without labels.

    Shapes:
        ``y (B,)`` of one cluster, ``(B, n)`` of n of them, a column for each, the lowest first; -1 where there is none.

    Raises:
        InputError: If labels have another shape or type; while Pyro validates, if one is out of range.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014); GM-DGM for
        clusters without labels.

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> prior = pv.priors.GaussianMixture(2, components=3)
        >>> model = pv.models.MixtureVAE(decoder, prior, pv.likelihoods.Gaussian())
        >>> model(x, torch.tensor([0, -1, 3, -1]))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the labels of 'y' are -1 to 3: expected 0 to 2, the model's 3 clusters, or -1 where
        there is none; give the prior more components, or number the labels from 0
    """

    @property
    def clustered(self) -> Mapping[str, GaussianMixture]:
        """The mixture priors whose clusters are sites, by the latent's site."""
        raise NotImplementedError(f"{type(self).__name__} must implement clustered")

    def labels(self, y: Tensor | None, size: int) -> dict[str, Tensor]:
        """The labels of ``size`` data by the latent's site, checked; none if y is None."""
        if y is None:
            return {}
        sites = [cluster_site(site) for site in self.clustered]
        if not sites:
            raise InputError("there are labels, but no cluster of the model is a site: give it cluster_sites")
        shape = (size,) if len(sites) == 1 else (size, len(sites))
        if tuple(y.shape) != shape or y.is_floating_point():
            raise InputError(
                f"the labels are {str(y.dtype).removeprefix('torch.')} of shape {tuple(y.shape)}: expected whole "
                f"numbers of shape {shape}, for {' and '.join(sites)}"
            )
        columns = dict(zip(self.clustered, y.reshape(size, -1).unbind(1), strict=True))
        if is_validation_enabled():
            self._check_range(columns)
        return columns

    def forward(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro model: clusters, latents and ``x`` (observed) in the plate ``data``; returns the latents.

        Args:
            x: the batch, ``(B, *event_shape)``.
            y: its labels, None for none.
            mask: True where x was seen, of its shape; None for all.
        """
        self.labels(y, len(x))
        return super().forward(x, mask=mask)

    def check_given(self, given: Given) -> None:
        """Refuse labels whose shape, type or values are none of this model's."""
        if (y := given.get("y")) is not None:
            self._check_range(self.labels(y, len(y)))

    def _check_range(self, labels: Mapping[str, Tensor]) -> None:
        for site, values in labels.items():
            (least, most), number = map(int, values.aminmax()), len(self.clustered[site].logits)
            if least < UNKNOWN or most >= number:
                raise InputError(
                    f"the labels of {cluster_site(site)!r} are {least} to {most}: expected 0 to {number - 1}, the "
                    f"model's {number} clusters, or -1 where there is none; give the prior more components, or number "
                    "the labels from 0"
                )
