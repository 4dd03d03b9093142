"""Base class of autoregressive likelihoods of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vaes.distributions.autoregressive_image import AutoregressiveImage
from pyro_vaes.distributions.pixel_heads import CategoricalHead, Head
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.grid import check_grid
from pyro_vaes.networks.autoregressive import AutoregressiveNetwork
from pyro_vaes.validation import checked_sizes


class AutoregressiveLikelihood(Likelihood):
    """Base class of autoregressive images: p(x | f) = Πᵢ p(xᵢ | x_{<i}, f).

    The colors of a pixel are autoregressive as well. The features are F maps of the image's height and width, from a
    decoder at z. ``log_prob`` takes one pass of the network over x; draws are generated pixel by pixel. There is no
    closed-form mean: ``mean`` is a draw. Guides that need ``fisher``, such as ``Laplace``, are not supported.

    Args:
        network: maps the preceding pixels and the features to hidden units at each pixel.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data: 2 for binary images, 256 for 8-bit images.
        head: distribution of a pixel given its hidden units; by default categorical.

    Attributes:
        network: the network.

    Shapes:
        features ``(..., F, H, W)``; batch shape ``(...)``, event shape ``(C, H, W)``.

    Raises:
        InputError: If there are fewer than 2 gray levels, or features have another shape; from ``check``, if data
            have another shape or a value is not a gray level.
    """

    kinds = ("pixels", "binary")
    features_shape: torch.Size

    def __init__(
        self, network: AutoregressiveNetwork, features: int, num_bins: int = 2, head: Head | None = None
    ) -> None:
        super().__init__()
        checked_sizes(num_bins=(num_bins,))
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}: expected the number of gray levels, 2 or more")
        colors, *size = network.event_shape
        self.network, self.num_bins = network, num_bins
        self.features_shape = torch.Size((features, *size))
        self.preprocessing = self.required_preprocessing(num_bins)  # type: ignore[misc]
        self.head = CategoricalHead(network.channels, colors, num_bins) if head is None else head

    @classmethod
    def build(cls, event_shape: Sequence[int], features: int = 4, **options: Any) -> Self:
        """The likelihood for images of this shape."""
        return cls(event_shape, features, **options)  # type: ignore[arg-type]

    @classmethod
    def required_preprocessing(cls, num_bins: int = 2, **options: Any) -> Mapping[str, Any]:
        """Dynamic binarization for binary data, no dequantization for others."""
        return {"binarize": "dynamic"} if num_bins == 2 else {"dequantize": False}

    def forward(self, features: Tensor) -> AutoregressiveImage:
        """The distribution of images given these features."""
        if features.shape[-3:] != self.features_shape:
            raise InputError(
                f"the decoder gives features {tuple(features.shape[1:])}, but this {type(self).__name__} expects maps "
                f"{tuple(self.features_shape)}: give the decoder event_shape={tuple(self.features_shape)}"
            )
        return AutoregressiveImage(features, self.network, self.head)

    def mean(self, features: Tensor) -> Tensor:
        """A draw of x, an unbiased estimate of E[x | features]."""
        return self(features).sample()

    def check(self, x: Tensor) -> None:
        """Check that images have the right shape and all values are gray levels r / (L - 1)."""
        if x.shape[1:] != self.network.event_shape:
            raise InputError(
                f"x holds images {tuple(x.shape[1:])}, but this {type(self).__name__} was made for "
                f"{tuple(self.network.event_shape)}: give it event_shape={tuple(x.shape[1:])}"
            )
        check_grid(x, type(self).__name__, self.num_bins)
