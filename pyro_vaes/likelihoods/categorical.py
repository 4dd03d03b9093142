"""The categorical likelihood of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor
from torch.nn import functional as F

from pyro_vaes.distributions.grid_categorical import GridCategorical, grid_index
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.feature_maps import FeatureMaps
from pyro_vaes.likelihoods.grid import check_grid


class Categorical(FeatureMaps):
    """Pixels of L gray levels r / (L - 1), each with a probability of its own: p(x | f) = Π softmax(f)ᵣ.

    The features are one map of logits for each gray level. The data must not be dequantized:
    ``data.load(..., dequantize=False)``. ``fisher`` is the diagonal of the information, so that a ``Laplace`` guide
    neglects how the logits of one pixel depend on each other.

    Args:
        event_shape: shape of one datum.
        num_bins: number L of gray levels of the data: 256 for 8-bit images, 17 for the embedded digits.

    Shapes:
        Features ``(..., L C, H, W)`` or ``(..., L D)`` to a distribution over x with batch shape ``(...)``.

    Raises:
        InputError: If there are fewer than 2 gray levels, or features have another shape; from ``check``, if a
            value is not a gray level.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016), for a softmax over gray levels.

    Example:
        >>> likelihood = Categorical((1,), num_bins=3)
        >>> likelihood(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])).log_prob(torch.zeros(2, 1)).exp()
        tensor([0.3333, 0.7870])
    """

    kinds = ("pixels", "binary")
    preprocessing = {"dequantize": False}  # noqa: RUF012  (declared in the base class)

    def __init__(self, event_shape: Sequence[int], num_bins: int = 256) -> None:
        super().__init__(event_shape, num_maps=num_bins)
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}: expected the number of gray levels, 2 or more")
        self.num_bins = num_bins

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent categorical distributions with these logits."""
        return self.to_event(GridCategorical(self._logits(features)))

    def fisher(self, features: Tensor) -> Tensor:
        """softmax(f) (1 - softmax(f))."""
        probability = self._logits(features).softmax(-1)
        return self._features(probability * (1 - probability))

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """1[r = x (L - 1)] - softmax(f)."""
        probability = self._logits(features).softmax(-1)
        return self._features(F.one_hot(grid_index(x, self.num_bins), self.num_bins) - probability)

    def check(self, x: Tensor) -> None:
        """Check that all values are gray levels r / (L - 1)."""
        check_grid(x, type(self).__name__, self.num_bins)

    def _logits(self, features: Tensor) -> Tensor:
        """Logits ``(..., *event_shape, L)``."""
        return self.split(features).movedim(-len(self.features_shape) - 1, -1)

    def _features(self, logits: Tensor) -> Tensor:
        """Features of logits, the inverse of :meth:`_logits`."""
        dims = len(self.features_shape)
        return logits.movedim(-1, -dims - 1).flatten(-dims - 1, -dims)
