"""The prior of a conditional model that depends on the condition."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vaes.networks.conditional import condition_vector
from pyro_vaes.priors import Prior
from pyro_vaes.validation import checked_sizes


class ConditionalPrior(Prior):
    """The normal prior p(z | c) = N(μ(c), diag σ(c)²) of a network, standard normal at first.

    Args:
        latent_dim: size Z of the latent.
        condition_dim: number C of classes, or size of the condition.
        hidden: sizes of the network's hidden layers; none makes mean and log-scale linear in c.

    Shapes:
        ``y (B,)`` or ``(B, C)`` to a distribution with batch shape ``(B,)`` and event shape ``(Z,)``.

    References:
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn, Lee, Yan, 2015).

    Example:
        >>> ConditionalPrior(2, condition_dim=10)(torch.arange(4)).mean.shape
        torch.Size([4, 2])
    """

    def __init__(self, latent_dim: int, condition_dim: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(latent_dim)
        checked_sizes(condition_dim=(condition_dim,))
        sizes = (condition_dim, *(tuple(hidden) and checked_sizes(hidden=hidden)[0]))
        layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        last = nn.Linear(sizes[-1], 2 * latent_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network, self.condition_dim = nn.Sequential(*layers, last), condition_dim

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """p(z | c)."""
        outputs = self.network(condition_vector(y, self.condition_dim, next(self.network.parameters())))
        mean, log_scale = outputs.chunk(2, -1)
        return dist.Normal(mean, log_scale.exp()).to_event(1)

    def probe(self) -> None:
        """Nothing to check: it is normal."""
