"""The discretised logistic likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor

from pyro_vaes.distributions.discretized_logistic import RoundedLogistic, _edges_of, _Grid, _sum_over_edges
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import LocationScale
from pyro_vaes.validation import checked_sizes


class DiscretizedLogistic(LocationScale):
    """Grey levels: a logistic variable rounded to the nearest of L levels, the features being its location.

    With levels x = r / (L - 1), r = 0 … L - 1, half a step h = 1 / (2 (L - 1)), and the logistic CDF::

        P(x | f) = σ((x + h - f) / s) - σ((x - h - f) / s),      open at both ends:
        σ((x - h - f) / s) is 0 for x = 0, and σ((x + h - f) / s) is 1 for x = 1

    A probability, so that unlike a density it cannot grow without bound. The data must be on the levels:
    ``data.load(..., dequantize=False)``.

    Args:
        num_bins: number L of grey levels of the data: 256 for 8-bit images, 17 for the embedded digits.
        scale: s. Without one it is set from the training data when training starts, so that the logistic has
            their root mean squared deviation from the per-pixel mean.
        shape: shape of s: ``()`` is one scalar, the event shape is one s a pixel.
        learn: whether s is learnt.

    Shapes:
        Calling it takes features ``(..., *event_shape)``, for a distribution over x of batch shape ``(...)``.

    Raises:
        InputError: for fewer than 2 levels or a scale that is not positive; by :meth:`check`, for data off the
            levels.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017);
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), for one component.

    Example:
        >>> likelihood = DiscretizedLogistic(num_bins=3, scale=0.25)
        >>> likelihood(torch.full((3, 1), 0.5)).log_prob(torch.tensor([[0.0], [0.5], [1.0]])).exp()
        tensor([0.2689, 0.4621, 0.2689], grad_fn=<ExpBackward0>)
    """

    unit_deviation = math.pi / math.sqrt(3)
    preprocessing = {"dequantize": False}  # noqa: RUF012  (declared in the base class)

    def __init__(
        self, num_bins: int = 256, scale: float | None = None, shape: Sequence[int] = (), learn: bool = True
    ) -> None:
        super().__init__(scale, shape, learn)
        checked_sizes(num_bins=(num_bins,))
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}: expected the number of grey levels, 2 or more")
        self.num_bins = num_bins

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent rounded logistic distributions around the features."""
        return RoundedLogistic(features, self.log_scale.exp(), self.num_bins, self._dims(features.dim()))

    def fisher(self, features: Tensor) -> Tensor:
        """Σⱼ σ'(eⱼ) (σ(eⱼ₊₁) - σ(eⱼ₋₁)) / s² over the edges eⱼ between levels, in units of s from f.

        The edge between levels j and j + 1 adds σ'(e) / s² to -∂² log P of both, and σ(eⱼ₊₁) - σ(eⱼ₋₁) is their
        probability, so that this is the expectation itself.
        """

        def term(below: Tensor, at: Tensor, above: Tensor) -> Tensor:
            return at * (1 - at) * (above - below)

        scale = self.log_scale.exp()
        return _sum_over_edges(term, features, scale, self.num_bins) / scale.square()

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(σ(b) - σ(-a)) / s for the upper edge a and the lower edge b of x; an open end adds nothing."""
        scale = self.log_scale.exp()
        upper, lower, top, bottom = _edges_of(x, features, scale, self.num_bins)
        return (lower.sigmoid().masked_fill(bottom, 0) - (-upper).sigmoid().masked_fill(top, 0)) / scale

    def check(self, x: Tensor) -> None:
        """Refuse values off the levels."""
        other = x[~_Grid(self.num_bins).check(x)]
        if other.numel():
            raise InputError(
                f"DiscretizedLogistic(num_bins={self.num_bins}) needs data on the levels r / {self.num_bins - 1}, "
                f"but x holds {other[0].item():.4g}: load the data with dequantize=False (which the command "
                "line does), and give the number of their grey levels, such as num_bins=17 for the digits "
                '(command line: --likelihood "discretized-logistic(num_bins=17)")'
            )
