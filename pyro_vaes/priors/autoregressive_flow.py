"""The autoregressive flow prior."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError, unknown
from pyro_vaes.networks.made import MADE, AutoregressiveStep, Rule, affine, gated, shifted
from pyro_vaes.networks.shapes import checked_sizes
from pyro_vaes.priors.base import Prior

Step = Literal["mean", "affine", "gated"]
RULES: dict[str, tuple[Rule, int]] = {"mean": (shifted, 1), "affine": (affine, 2), "gated": (gated, 2)}


class AutoregressiveFlow(Prior):
    """Autoregressive flow prior: z = f(ε) with ε ~ N(0, I), undone by ``flows`` masked networks, ε = T_K … T₁(z).

    Each step gives εᵢ from zᵢ and the coordinates before it, and every second step goes through the coordinates in
    reverse::

        mean    εᵢ = zᵢ + mᵢ                      keeps volume
        affine  εᵢ = exp(sᵢ) zᵢ + mᵢ
        gated   εᵢ = gᵢ zᵢ + (1 - gᵢ) mᵢ,         gᵢ = sigmoid(sᵢ + 2)

        log p(z) = log N(T(z); 0, I) + log |∂T/∂z|

    The density takes one pass through each network; a draw is exact and takes Z, one a coordinate. Under a plain
    posterior on z this is, for the ELBO, an inverse autoregressive flow posterior on ε under a plain prior, with a
    deeper decoder ε -> z -> x: a ``gated`` flow is the one of the guide ``InverseAutoregressiveFlow``.

    Args:
        latent_dim: size Z of the latent, 2 or more.
        flows: number K of steps.
        hidden: sizes of the hidden layers of each network.
        step: kind of the steps, ``"mean"``, ``"affine"`` or ``"gated"``.

    Attributes:
        flows: the masked networks, in the order from z to ε.

    Raises:
        InputError: for a latent of one dimension, a size that is no positive whole number, or an unknown step.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017), steps of the mean only;
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019), affine.

    Example:
        >>> prior = AutoregressiveFlow(3, flows=2, hidden=(16,))
        >>> z = prior().sample((5,))
        >>> z.shape, prior().log_prob(z).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, latent_dim: int, flows: int = 4, hidden: Sequence[int] = (128,), step: Step = "affine") -> None:
        super().__init__(latent_dim)
        (flows,), hidden = checked_sizes(flows=(flows,), hidden=hidden)
        if latent_dim == 1:
            raise InputError(
                "latent_dim is 1: a single coordinate has none before it, so that an autoregressive flow could only "
                "shift and scale it; take latent_dim=2 or more, or the GaussianMixture prior"
            )
        if step not in RULES:
            raise unknown("step", step, get_args(Step))
        self.rule, outputs = RULES[step]
        networks = (MADE(latent_dim, hidden, outputs, reverse=k % 2 == 1) for k in range(flows))
        self.flows: Iterable[MADE] = nn.ModuleList(networks)  # type: ignore[assignment]
        self.loc: Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The distribution of f(ε)."""
        base = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        return dist.TransformedDistribution(base, [step.inv for step in reversed(self.steps())])

    def steps(self) -> list[AutoregressiveStep]:
        """T₁ … T_K, the bijections that take z to ε."""
        return [AutoregressiveStep(network, self.rule) for network in self.flows]
