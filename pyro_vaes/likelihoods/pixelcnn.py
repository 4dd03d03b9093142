"""Autoregressive likelihoods of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vaes import networks
from pyro_vaes.distributions.autoregressive_image import AutoregressiveImage
from pyro_vaes.distributions.pixel_heads import CategoricalHead, Head, LogisticMixtureHead
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.grid import check_grid
from pyro_vaes.validation import checked_sizes


class PixelCNN(Likelihood):
    """Autoregressive images: p(x | f) = Πᵢ p(xᵢ | x_{w(i)}, f), with the preceding pixels w(i) in a window.

    The colors of a pixel are autoregressive as well. The features are F maps of the image's height and width, from a
    decoder at z. This likelihood models the local structure within the window; z has to encode the rest. ``log_prob``
    takes one pass of the masked network over x; draws are generated pixel by pixel. There is no closed-form mean:
    :meth:`mean` is a draw. Guides that need ``fisher``, such as ``Laplace``, are not supported.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data: 2 for binary images, 256 for 8-bit images.
        window: ``(A, B)``, a rectangle of width A and height B above the pixel, and ⌈(A - 1) / 2⌉ pixels on its left;
            by default all preceding pixels.
        layers: number of masked layers.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Attributes:
        network: the masked network.

    Shapes:
        features ``(..., F, H, W)``; batch shape ``(...)``, event shape ``(C, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, the window is larger than the image, tied layers would differ
            in size, or features have another shape; from :meth:`check`, if data have another shape or a value is not
            a gray level.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016);
        Variational Lossy Autoencoder (Chen et al., 2017).

    Example:
        >>> likelihood = PixelCNN((1, 8, 8), features=4, window=(5, 2), layers=2, channels=8)
        >>> p = likelihood(torch.zeros(3, 4, 8, 8))
        >>> images = p.sample()
        >>> images.shape, p.log_prob(images).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([3]))
    """

    kinds = ("pixels", "binary")
    features_shape: torch.Size

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        num_bins: int = 2,
        window: Sequence[int] | None = None,
        layers: int = 6,
        channels: int = 32,
        tied: bool = False,
    ) -> None:
        super().__init__()
        checked_sizes(num_bins=(num_bins,))
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}: expected the number of gray levels, 2 or more")
        self.network = networks.GatedPixelCNN(event_shape, features, window, layers, channels, tied)
        self.num_bins = num_bins
        self.features_shape = torch.Size((features, *event_shape[1:]))
        self.preprocessing = self.required_preprocessing(num_bins)  # type: ignore[misc]
        self.head: Head = CategoricalHead(channels, event_shape[0], num_bins)

    @classmethod
    def build(cls, event_shape: Sequence[int], features: int = 4, **options: Any) -> Self:
        """The likelihood for images of this shape."""
        return cls(event_shape, features, **options)

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


class PixelCNNPP(PixelCNN):
    """Autoregressive color images whose pixels are mixtures of rounded logistics.

    With K components of weights πₖ for the whole pixel, each color's location linear in the preceding colors::

        p(x_rgb | ·) = Σₖ πₖ Π_c P(x_c; μ_kc + Σ_{d<c} a_kcd x_d, s_kc)

    where P is a logistic variable rounded to L gray levels, with open outer bins (see ``DiscretizedLogistic``). The
    masked network is that of :class:`PixelCNN`, not the published one with downsampling.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data.
        components: number K of components.
        window: ``(A, B)``; by default all preceding pixels.
        layers: number of masked layers.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Shapes:
        Features ``(..., F, H, W)`` to a distribution over x with batch shape ``(...)`` and event shape ``(C, H, W)``.

    Raises:
        InputError: As for :class:`PixelCNN`.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017).

    Example:
        >>> likelihood = PixelCNNPP((3, 4, 4), features=2, num_bins=5, components=3, layers=2, channels=8)
        >>> likelihood(torch.zeros(2, 2, 4, 4)).sample().shape
        torch.Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        num_bins: int = 256,
        components: int = 10,
        window: Sequence[int] | None = None,
        layers: int = 6,
        channels: int = 32,
        tied: bool = False,
    ) -> None:
        super().__init__(event_shape, features, num_bins, window, layers, channels, tied)
        checked_sizes(components=(components,))
        self.head = LogisticMixtureHead(channels, event_shape[0], num_bins, components)

    @classmethod
    def required_preprocessing(cls, num_bins: int = 256, **options: Any) -> Mapping[str, Any]:
        """As for :class:`PixelCNN`, with another default of ``num_bins``."""
        return super().required_preprocessing(num_bins)
