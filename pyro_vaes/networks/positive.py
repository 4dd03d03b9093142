"""The map from unconstrained values to positive scales."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def positive(unconstrained: Tensor) -> Tensor:
    """Softplus plus a lower bound of 1e-4, so that no scale vanishes in float32."""
    return F.softplus(unconstrained) + 1e-4
