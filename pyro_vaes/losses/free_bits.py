"""Free bits: bounds under which the KL costs nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from pyro_vaes.distributions.coordinates import coordinate_log_prob
from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO, Parts
from pyro_vaes.traces import total


class FreeBits(ELBO):
    """Evidence lower bound whose KL costs nothing under a bound: no reason is left to forget all of x.

    Bounds apply to the means over the batch, one inside another, all in nats::

        kl(z) = Σₖ max(per_dimension, KLₖ)         over the dimensions of a latent
        kl    = Σ_z max(per_latent, kl(z))         over the latents of the model
        loss  = - reconstruction + max(total, kl)

    The terms that are reported hold the KL itself.

    Args:
        total: bound on the whole KL.
        per_latent: bound on the KL of each latent; of use in models of several.
        per_dimension: bound on the KL of each dimension of a latent, where guide and prior are independent over
            dimensions or autoregressive flows; of a flow at the draw, log q - log p in the terms of each dimension.
        num_particles: number S of draws a datum.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl``, each ``(B,)``; a model of several latents adds ``kl_<site>``.

    Raises:
        InputError: If a bound is negative or not finite, or none is above 0, or the KL is no sum over dimensions that
            a bound is on.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016);
        Variational Lossy Autoencoder (Chen et al., 2017), whose 0.01 nat a pixel is ``total=7.84`` on 28 x 28; shared
        out among 64 dimensions, ``per_dimension=0.1225``.

    Example:
        >>> loss = FreeBits(total=7.84)
        >>> objective, terms = loss.objective(vae, guide, x)
        >>> bool(terms["kl"].mean() < 7.84), (objective.sum() - terms["reconstruction"].sum()) / len(x)
        (True, tensor(-7.8400, grad_fn=<DivBackward0>))
    """

    couples_batch = True

    def __init__(
        self, total: float = 0.0, per_latent: float = 0.0, per_dimension: float = 0.0, num_particles: int = 1
    ) -> None:
        super().__init__(num_particles)
        bounds = {"total": total, "per_latent": per_latent, "per_dimension": per_dimension}
        for name, value in bounds.items():
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}: expected a number of nats, 0 or more")
        if not any(bounds.values()):
            raise InputError("FreeBits needs a bound above 0, for example total=7.84: without one take ELBO()")
        self.total, self.per_latent, self.per_dimension = total, per_latent, per_dimension

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - bounded kl, and the parts."""
        parts = self.parts(model, guide, x, *args)
        if self.per_dimension:
            kls = [self._over_dimensions(site, parts) for site in parts.posteriors]
        else:
            kls = list(parts.kls.values()) if len(parts.kls) > 1 else [parts.kl]
        bounded = free(total(free(kl, self.per_latent) for kl in kls), self.total)
        return parts.reconstruction - bounded, parts.terms()

    def _over_dimensions(self, name: str, parts: Parts) -> Tensor:
        q, p = parts.posteriors[name], parts.priors[name]
        kl = self._closed_form(q, p)
        if kl is None:
            terms = [coordinate_log_prob(each, parts.latents[name]) for each in (q, p)]
            if any(term is None for term in terms):
                other = next(each for each, term in zip((q, p), terms, strict=True) if term is None)
                raise InputError(
                    f"per_dimension needs a KL that is a sum over dimensions, but {name!r} has a "
                    f"{type(other).__name__}: take a MeanField guide under a StandardNormal or a flow prior, or bound "
                    "the KL by `total` or `per_latent`"
                )
            kl = terms[0] - terms[1]  # type: ignore[operator]
        kl = kl.mean(0) if kl.dim() > 2 else kl
        return free(kl, self.per_dimension).sum(-1)

    @staticmethod
    def _closed_form(q: TorchDistribution, p: TorchDistribution) -> Tensor | None:
        """KL of each dimension, ``(..., B, Z)``, where both are independent over dimensions and one is registered."""
        if not (isinstance(q, Independent) and isinstance(p, Independent)):
            return None
        try:
            return kl_divergence(q.base_dist, p.base_dist).flatten(len(q.batch_shape))
        except NotImplementedError:
            return None


def free(kl: Tensor, bound: float) -> Tensor:
    """KLs ``(B,)`` or ``(B, Z)`` whose mean over the batch, where it is below the bound, is replaced by the bound.

    Example:
        >>> free(torch.tensor([1.0, 2.0]), 3.0), free(torch.tensor([1.0, 2.0]), 1.0)
        (tensor([3., 3.]), tensor([1., 2.]))
    """
    return torch.where(kl.mean(0) > bound, kl, torch.full_like(kl, bound))
