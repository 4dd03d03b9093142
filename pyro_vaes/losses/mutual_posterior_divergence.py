"""The evidence lower bound, regularized by the divergences between posteriors."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import Independent, TransformedDistribution
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pyro_vaes.distributions.normal import ReflectedNormal
from pyro_vaes.errors import InputError, unknown
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO
from pyro_vaes.losses.free_bits import free

Form = Literal["paper", "code"]
CHUNK_VALUES = 2**20  # numbers that one pass over dimensions may hold


class MutualPosteriorDivergence(ELBO):
    """Evidence lower bound with two regularizers on the posteriors q₁ … q_B of a batch, which keep codes apart.

    With KLₖ(i ‖ j) = KL(qᵢₖ ‖ qⱼₖ) in dimension k, over all ordered pairs i ≠ j of data::

        loss = - reconstruction + max(free_bits, kl) + η diversity + γ smoothness

        diversity   Σₖ meanᵢⱼ softplus(-KLₖ(i ‖ j))        ("paper"),  at most Z log 2, where all posteriors are equal
                    Σₖ softplus(-meanᵢⱼ KLₖ(i ‖ j))        ("code"),   never larger
        smoothness  stdᵢⱼ Σₖ KLₖ(i ‖ j)

    Posteriors are normal and independent over dimensions; of a flow guide, its base before the flow. Of several
    latents the dimensions are taken together, each posterior at its own draw of the latents above. Smoothness and the
    code's diversity are sums and one matrix product; the paper's diversity goes over a few dimensions at a time and
    is computed again for the gradient, so that memory is O(B² + B Z).

    Args:
        eta: weight η of the diversity.
        gamma: weight γ of the smoothness.
        form: the diversity of the paper or that of its authors' code.
        free_bits: nats of the batch-mean KL that cost nothing.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl``, and ``diversity`` and ``smoothness`` without their weights; a
        model of several latents adds ``kl_<site>``; each ``(B,)``. Diversity and smoothness belong to the batch:
        every datum gets the same value, whose mean over the batch is the regularizer. A batch of one has no pairs:
        both are 0.

    Raises:
        InputError: If a weight or a bound is negative or not finite, the form is unknown, or the guide's posteriors
            are not made of independent normals.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> terms = MutualPosteriorDivergence().terms(vae, guide, x)
        >>> sorted(terms), bool(terms["diversity"][0] < 2 * math.log(2))
        (['diversity', 'kl', 'reconstruction', 'smoothness'], True)
    """

    couples_batch = True

    def __init__(self, eta: float = 1.0, gamma: float = 0.5, form: Form = "paper", free_bits: float = 0.0) -> None:
        super().__init__()
        for name, value in {"eta": eta, "gamma": gamma, "free_bits": free_bits}.items():
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}: expected a number, 0 or more")
        if form not in get_args(Form):
            raise unknown("form", form, get_args(Form))
        self.eta, self.gamma, self.free_bits = eta, gamma, free_bits
        self.diversity = mean_of_softplus if form == "paper" else softplus_of_mean

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - bounded kl - η diversity - γ smoothness, and the parts."""
        parts = self.parts(model, guide, x, *args)
        bases = [_base(site, q) for site, q in parts.posteriors.items()]
        loc, scale = (torch.cat(each, -1) for each in zip(*bases, strict=True))
        if len(x) > 1:
            diversity = self.diversity(loc, scale)
            smoothness = off_diagonal(pairwise_kl(loc, scale)).std()
        else:
            diversity = smoothness = loc.new_zeros(())
        terms = parts.terms() | {"diversity": diversity.expand(len(x)), "smoothness": smoothness.expand(len(x))}
        regularizer = self.eta * terms["diversity"] + self.gamma * terms["smoothness"]
        return terms["reconstruction"] - free(terms["kl"], self.free_bits) - regularizer, terms


def pairwise_kl(loc: Tensor, scale: Tensor) -> Tensor:
    """KL(qᵢ ‖ qⱼ) in nats of independent normals: ``(B, Z)`` each to ``(B, B)``.

    Example:
        >>> pairwise_kl(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
        tensor([[0., 2.],
                [2., 0.]])
    """
    loc, precision, log_scale = loc - loc.mean(0), scale.pow(-2), scale.log().sum(-1)
    cross = torch.cat([scale.square() + loc.square(), -2 * loc], -1) @ torch.cat([precision, precision * loc], -1).T
    own = (precision * loc.square()).sum(-1) - loc.shape[-1]
    return 0.5 * (cross + own) + log_scale - log_scale.unsqueeze(-1)


def softplus_of_mean(loc: Tensor, scale: Tensor) -> Tensor:
    """Σₖ softplus(-meanᵢⱼ KLₖ(i ‖ j)) over i ≠ j, from sums over the batch alone; the log-scales cancel."""
    loc, precision, size = loc - loc.mean(0), scale.pow(-2), len(loc)
    squares = (scale.square() + loc.square()).sum(0) * precision.sum(0)
    own = (precision * loc.square()).sum(0) - size
    return F.softplus(-0.5 * (squares + size * own) / (size * (size - 1))).sum()


def mean_of_softplus(loc: Tensor, scale: Tensor) -> Tensor:
    """Σₖ meanᵢⱼ softplus(-KLₖ(i ‖ j)) over i ≠ j."""

    def part(loc: Tensor, scale: Tensor) -> Tensor:
        ratio = scale.unsqueeze(1) / scale
        kl = 0.5 * (ratio.square() + ((loc.unsqueeze(1) - loc) / scale).square() - 1) - ratio.log()
        return off_diagonal(F.softplus(-kl).sum(-1)).mean()

    dims = max(1, CHUNK_VALUES // len(loc) ** 2)
    chunks = zip(loc.split(dims, -1), scale.split(dims, -1), strict=True)
    parts = [checkpoint(part, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.stack(parts).sum()


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries off the diagonal, ``(B, B)`` to ``(B - 1, B)``; the host does not wait for the device.

    Example:
        >>> off_diagonal(torch.arange(9).view(3, 3))
        tensor([[1, 2, 3],
                [5, 6, 7]])
    """
    size = len(matrix)
    return matrix.flatten()[1:].view(size - 1, size + 1)[:, :-1]


def _base(name: str, q: TorchDistribution) -> tuple[Tensor, Tensor]:
    """Means and scales, ``(B, Z)`` each, of the independent normals that a posterior is made of."""
    base = q
    while isinstance(base, (Independent, TransformedDistribution)):
        base = base.base_dist
    if not isinstance(base, (Normal, ReflectedNormal)):
        raise InputError(
            f"MutualPosteriorDivergence needs posteriors made of independent normals, but the guide's {name!r} is a "
            f"{type(base).__name__}: take MeanField, SemiAmortized, InverseAutoregressiveFlow or Householder"
        )
    return base.loc.flatten(1), base.scale.flatten(1)
