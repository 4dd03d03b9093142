"""PixelCNN and PixelCNN++."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyro_vaes.distributions.pixel_heads import LogisticMixtureHead
from pyro_vaes.likelihoods.autoregressive import AutoregressiveLikelihood
from pyro_vaes.networks import DownsamplingPixelCNN, GatedPixelCNN
from pyro_vaes.validation import checked_sizes


class PixelCNN(AutoregressiveLikelihood):
    """Autoregressive images: p(x | f) = Πᵢ p(xᵢ | x_{w(i)}, f), with the preceding pixels w(i) in a window.

    The colors of a pixel are autoregressive as well. The features are F maps of the image's height and width, from a
    decoder at z. This likelihood models the local structure within the window; z has to encode the rest. ``log_prob``
    takes one pass of the masked network over x; draws are generated pixel by pixel. There is no closed-form mean:
    ``mean`` is a draw. Guides that need ``fisher``, such as ``Laplace``, are not supported.

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
            in size, or features have another shape; from ``check``, if data have another shape or a value is not
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
        super().__init__(GatedPixelCNN(event_shape, features, window, layers, channels, tied), features, num_bins)


class PixelCNNPP(AutoregressiveLikelihood):
    """PixelCNN++: autoregressive color images whose pixels are mixtures of rounded logistics.

    With K components of weights πₖ for the whole pixel, each color's location linear in the preceding colors::

        p(x_rgb | ·) = Σₖ πₖ Π_c P(x_c; μ_kc + Σ_{d<c} a_kcd x_d, s_kc)

    where P is a logistic variable rounded to L gray levels, with open outer bins (see ``DiscretizedLogistic``). The
    network is :class:`~pyro_vaes.networks.DownsamplingPixelCNN`, with down- and upsampling unless there is a window.
    Otherwise as :class:`PixelCNN`, but that draws take one pass of the network per pixel.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data.
        components: number K of components.
        window: ``(A, B)``, as of :class:`PixelCNN`; the network then has one resolution. By default none.
        resolutions: number of resolutions; 3, or 1 with a window, by default.
        blocks: gated residual blocks per resolution, in each half of the network.
        channels: hidden channels.
        dropout: probability of dropout within blocks.

    Shapes:
        Features ``(..., F, H, W)`` to a distribution over x with batch shape ``(...)`` and event shape ``(C, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, the window is larger than the image or stands beside several
            resolutions, the dropout is no probability below 1, or features have another shape; from ``check``, as
            for :class:`PixelCNN`.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017).

    Example:
        >>> likelihood = PixelCNNPP((3, 4, 4), features=2, num_bins=5, components=3, blocks=1, channels=8)
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
        resolutions: int | None = None,
        blocks: int = 5,
        channels: int = 64,
        dropout: float = 0.0,
    ) -> None:
        checked_sizes(components=(components,))
        network = DownsamplingPixelCNN(event_shape, features, window, resolutions, blocks, channels, dropout)
        head = LogisticMixtureHead(channels, network.event_shape[0], num_bins, components)
        super().__init__(network, features, num_bins, head)

    @classmethod
    def required_preprocessing(cls, num_bins: int = 256, **options: Any) -> Mapping[str, Any]:
        """As for :class:`PixelCNN`, with another default of ``num_bins``."""
        return super().required_preprocessing(num_bins)
