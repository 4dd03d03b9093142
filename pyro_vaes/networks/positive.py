"""The map from a layer's outputs to positive scales."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def positive(raw: Tensor) -> Tensor:
    """Softplus kept away from 0, so that no scale can vanish in float32."""
    return F.softplus(raw) + 1e-4
