"""Base class of estimates of log p(x)."""

from __future__ import annotations

import math

from torch import Tensor


class PerDatum:
    """Base class of estimates with one value in nats per datum.

    Attributes:
        per_datum: the values, shape ``(N,)``.
    """

    per_datum: Tensor

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.per_datum.mean().item()

    @property
    def stderr(self) -> float:
        """Standard error of the mean over the data."""
        return (self.per_datum.std() / math.sqrt(len(self.per_datum))).item()


def log_mean_exp(values: Tensor) -> Tensor:
    """Log of the mean of exp over the first dimension.

    Example:
        >>> import torch
        >>> log_mean_exp(torch.zeros(5, 2))
        tensor([0., 0.])
    """
    return values.logsumexp(0) - math.log(len(values))
