"""Reconstruction, with the distance between aggregate posterior and prior in place of the KL."""

from __future__ import annotations

import math
from typing import Any

from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO
from pyro_vaes.traces import total


class MaximumMeanDiscrepancy(ELBO):
    """Reconstruction, with the maximum mean discrepancy of codes and prior draws in place of the KL.

    With one draw z of the posterior of each datum of a batch, and as many draws z' of the prior, for each latent::

        loss   = - reconstruction + weight Σ_latents MMD²
        MMD²   = mean k(z, z) + mean k(z', z') - 2 mean k(z, z'),      k(a, b) = exp(-‖a - b‖² / Z²)

    The means are over all pairs, the equal ones among them, as in the code: MMD² is 0 or more, and biased upward. The
    loss is no bound: a posterior may be far from the prior as long as the codes of a batch together are not. The terms
    that are reported hold the KL, so that validation is by the ELBO.

    Args:
        weight: weight of each MMD². In the code it is 1 beside 100 times the mean error per pixel, and the summed error
            of gray 28 x 28 images is 8 nats beside the KL: hence 8 · 784 / 100.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl``, and ``mmd``, the sum over the latents without its weight; a model
        of several latents adds ``kl_<site>``; each ``(B,)``. The MMD² belongs to the batch: every datum gets the same.

    Raises:
        InputError: If the weight is not positive, or a latent is discrete.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012); InfoVAE (Zhao, Song, Ermon, 2019); the option ``mmd`` of the
        code of Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017).

    Example:
        >>> sorted(MaximumMeanDiscrepancy().terms(vae, guide, x))
        ['kl', 'mmd', 'reconstruction']
    """

    couples_batch = True

    def __init__(self, weight: float = 62.72) -> None:
        super().__init__()
        if not 0 < weight < math.inf:
            raise InputError(f"weight is {weight}: expected a positive number")
        self.weight = weight

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - weight · mmd, and the parts."""
        parts = self.parts(model, guide, x, *args)
        draws = [(_codes(site, q), _draws(parts.priors[site])) for site, q in parts.posteriors.items()]
        mmd = total(squared_mmd(*each) for each in draws).expand(len(x))
        return parts.reconstruction - self.weight * mmd, parts.terms() | {"mmd": mmd}


def squared_mmd(codes: Tensor, others: Tensor) -> Tensor:
    """MMD² of two samples ``(N, Z)`` and ``(M, Z)`` under the kernel exp(-‖a - b‖² / Z²), a scalar.

    Example:
        >>> sample = torch.randn(5, 2)
        >>> squared_mmd(sample, sample), squared_mmd(sample, sample + 3) > 0.5
        (tensor(0.), tensor(True))
    """
    return _mean_kernel(codes, codes) + _mean_kernel(others, others) - 2 * _mean_kernel(codes, others)


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    return (-(a.unsqueeze(1) - b).square().sum(-1) / a.shape[-1] ** 2).exp().mean()


def _codes(site: str, q: TorchDistribution) -> Tensor:
    """One draw of each datum's posterior, ``(B, Z)``."""
    if not q.has_rsample:
        raise InputError(
            f"MaximumMeanDiscrepancy needs continuous latents, but {site!r} is discrete: take another loss"
        )
    return _draws(q)


def _draws(distribution: TorchDistribution) -> Tensor:
    """One draw for each datum, ``(B, Z)``, with a gradient if there is one."""
    draw = distribution.rsample if distribution.has_rsample else distribution.sample
    return draw().flatten(0, -2)
