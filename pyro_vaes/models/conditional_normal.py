"""Independent normal distributions with parameters from a network."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vaes.networks.positive import positive
from pyro_vaes.networks.shapes import out_features
from pyro_vaes.validation import checked_sizes


def normal(raw: Tensor) -> dist.TorchDistribution:
    """N(μ, diag σ²) from a layer's outputs, means first: ``(..., 2 Z)`` to batch shape ``(...)``, event ``(Z,)``."""
    mean, raw_scale = raw.chunk(2, -1)
    return dist.Normal(mean, positive(raw_scale)).to_event(1)


class ConditionalNormal(nn.Module):
    """The distribution p(a | b) = N(μ(b), diag σ(b)²), a linear head on a network's features.

    Args:
        network: any module ``b -> (..., out_features)``.
        size: size of a.

    Shapes:
        ``b (..., B)`` to a distribution of batch shape ``(...)`` and event shape ``(size,)``.

    Example:
        >>> ConditionalNormal(nn.Linear(3, 16), size=2)(torch.zeros(4, 3)).mean.shape
        torch.Size([4, 2])
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        checked_sizes(size=(size,))
        self.network, self.size = network, size
        self.head = nn.Linear(out_features(network), 2 * size)

    def forward(self, condition: Tensor) -> dist.TorchDistribution:
        """N(μ(b), diag σ(b)²)."""
        return normal(self.head(self.network(condition)))
