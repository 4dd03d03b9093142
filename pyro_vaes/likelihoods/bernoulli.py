"""The Bernoulli likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """Binary data: p(x | f) = Π σ(f)ˣ (1 - σ(f))¹⁻ˣ, the features being logits.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Example:
        >>> Bernoulli()(torch.zeros(2, 1, 8, 8)).log_prob(torch.ones(2, 1, 8, 8))
        tensor([-44.3614, -44.3614])
    """

    kinds = ("binary", "pixels")
    preprocessing = {"binarize": "dynamic"}  # noqa: RUF012  (declared in the base class)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent Bernoulli distributions with these logits."""
        return self.to_event(dist.Bernoulli(logits=features))

    def mean(self, features: Tensor) -> Tensor:
        """σ(features)."""
        return features.sigmoid()

    def fisher(self, features: Tensor) -> Tensor:
        """σ(f) (1 - σ(f))."""
        probability = features.sigmoid()
        return probability * (1 - probability)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """x - σ(f)."""
        return x - features.sigmoid()

    def check(self, x: Tensor) -> None:
        """Check that all values are 0 or 1."""
        other = x[(x != 0) & (x != 1)]
        if other.numel():
            raise InputError(
                f"Bernoulli needs binary data, but x holds {other[0].item():.4g}: load the data with "
                'binarize="dynamic", "static" or "threshold" (command line: --binarize dynamic), '
                "or take the Gaussian likelihood"
            )
