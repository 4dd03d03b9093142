"""The discretized logistic likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.distributions.discretized_logistic import RoundedLogistic, bin_edges, sum_over_edges
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import LocationScale
from pyro_vaes.likelihoods.grid import check_grid
from pyro_vaes.missing import nan_is_missing
from pyro_vaes.validation import checked_sizes


class DiscretizedLogistic(LocationScale):
    """Discretized logistic: a logistic variable around the features, rounded to the nearest of L gray levels.

    With gray levels x = r / (L - 1), r = 0 … L - 1, half a bin width h = 1 / (2 (L - 1)), and the logistic CDF::

        P(x | f) = σ((x + h - f) / s) - σ((x - h - f) / s),      with open outer bins:
        σ((x - h - f) / s) is 0 for x = 0, and σ((x + h - f) / s) is 1 for x = 1

    Unlike a density, a probability is bounded. The data must not be dequantized: ``data.load(..., dequantize=False)``.

    Args:
        num_bins: number L of gray levels of the data: 256 for 8-bit images, 17 for the embedded digits.
        scale: s; by default initialized from the training data such that the standard deviation of the logistic
            equals their root mean squared deviation from the per-pixel mean.
        shape: shape of s: ``()`` for a scalar, the event shape for one s per pixel.
        learn: whether s is learned.

    Shapes:
        Features ``(..., *event_shape)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If there are fewer than 2 gray levels or the scale is not positive; from ``check``, if a value
            is not a gray level.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017);
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), for one component.

    Example:
        >>> likelihood = DiscretizedLogistic(num_bins=3, scale=0.25)
        >>> likelihood(torch.full((3, 1), 0.5)).log_prob(torch.tensor([[0.0], [0.5], [1.0]])).exp()
        tensor([0.2689, 0.4621, 0.2689], grad_fn=<ExpBackward0>)
    """

    kinds = ("pixels", "binary")
    unit_deviation = math.pi / math.sqrt(3)
    preprocessing = {"dequantize": False}  # noqa: RUF012  (declared in the base class)

    def __init__(
        self, num_bins: int = 256, scale: float | None = None, shape: Sequence[int] = (), learn: bool = True
    ) -> None:
        super().__init__(scale, shape, learn)
        checked_sizes(num_bins=(num_bins,))
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}: expected the number of gray levels, 2 or more")
        self.num_bins = num_bins

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent rounded logistic distributions around the features."""
        scale = self.log_scale.exp()
        if nan_is_missing():
            return self.to_event(RoundedLogistic(features, scale, self.num_bins, event_dim=0))
        return RoundedLogistic(features, scale, self.num_bins, self._dims(features.dim()))

    def fisher(self, features: Tensor) -> Tensor:
        """Σⱼ σ'(eⱼ) (σ(eⱼ₊₁) - σ(eⱼ₋₁)) / s² over the standardized edges eⱼ between bins.

        The edge between bins j and j + 1 adds σ'(e) / s² to -∂² log P of both, and σ(eⱼ₊₁) - σ(eⱼ₋₁) is their total
        probability, so that the expectation is exact.
        """

        def term(below: Tensor, at: Tensor, above: Tensor) -> Tensor:
            return at * (1 - at) * (above - below)

        scale = self.log_scale.exp()
        return sum_over_edges(term, features, scale, self.num_bins) / scale.square()

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(σ(b) - σ(-a)) / s for the upper edge a and the lower edge b of the bin of x; open edges contribute 0."""
        scale = self.log_scale.exp()
        upper, lower, top, bottom = bin_edges(x, features, scale, self.num_bins)
        return (lower.sigmoid().masked_fill(bottom, 0) - (-upper).sigmoid().masked_fill(top, 0)) / scale

    def check(self, x: Tensor) -> None:
        """Check that all values are gray levels r / (L - 1)."""
        check_grid(x, type(self).__name__, self.num_bins)
