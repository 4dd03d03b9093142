"""The base of guides whose latents depend on each other."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.plate import batch_plate
from pyro_vaes.vae import Guide, Posteriors


class SequentialGuide(Guide):
    """Base class of guides that draw latents one after another, each given those before; see :class:`Guide`.

    A new one implements :meth:`chain`.
    """

    def chain(self, x: Tensor, sample: Callable[[str, dist.TorchDistribution], Tensor]) -> None:
        """Call ``sample(site, q)`` for each latent in turn; it gives the value that the next q may depend on."""
        raise NotImplementedError(f"{type(self).__name__} must implement chain(x, sample)")

    def posteriors(self, x: Tensor) -> Posteriors:
        """q(z_l | x, latents before) by site, the latents before at their conditional means."""
        found: Posteriors = {}

        def mean(site: str, q: dist.TorchDistribution) -> Tensor:
            found[site] = q
            return q.mean

        self.chain(x, mean)
        return {site: found[site] for site in self.vae.sites}

    def forward(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro guide: the latents' sites in the plate ``data``, one after another; returns them by site."""
        drawn: dict[str, Tensor] = {}

        def sample(site: str, q: dist.TorchDistribution) -> Tensor:
            drawn[site] = pyro.sample(site, q)
            return drawn[site]

        with batch_plate(self, self.vae, x, y, mask) as (guide, x):
            guide.chain(x, sample)
        return {site: drawn[site] for site in self.vae.sites}
