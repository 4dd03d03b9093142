"""PixelCNNs of masked square convolutions, as published with two systems."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_vaes import networks
from pyro_vaes.likelihoods.autoregressive import AutoregressiveLikelihood


class ResidualPixelCNN(AutoregressiveLikelihood):
    """Autoregressive images by masked K x K convolutions in residual blocks, the decoder of the lossy autoencoder.

    As :class:`PixelCNN`, with the network :class:`~pyro_vaes.networks.ResidualPixelCNN`, which sees (K - 1) / 2 rows
    above and columns on each side per layer and has a blind spot. Draws take one pass of the network per pixel.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data.
        layers: number of masked layers.
        kernel_size: odd size K.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Shapes:
        features ``(..., F, H, W)``; batch shape ``(...)``, event shape ``(C, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, K is not odd, or features have another shape; from
            ``check``, as for :class:`PixelCNN`.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017).

    Example:
        >>> likelihood = ResidualPixelCNN((1, 8, 8), features=4, layers=3, channels=8, tied=True)
        >>> likelihood(torch.zeros(3, 4, 8, 8)).sample().shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        num_bins: int = 2,
        layers: int = 6,
        kernel_size: int = 3,
        channels: int = 12,
        tied: bool = False,
    ) -> None:
        network = networks.ResidualPixelCNN(event_shape, features, layers, kernel_size, channels, tied)
        super().__init__(network, features, num_bins)


class SkipPixelCNN(AutoregressiveLikelihood):
    """Autoregressive images by masked convolutions of decreasing size with skip connections, the decoder of MAE.

    As :class:`PixelCNN`, with the network :class:`~pyro_vaes.networks.SkipPixelCNN`. Draws take one pass of the network
    per pixel.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        num_bins: number L of gray levels r / (L - 1) of the data.
        kernel_sizes: odd sizes of the masked convolutions, three or more.
        channels: hidden channels, an even number.

    Shapes:
        features ``(..., F, H, W)``; batch shape ``(...)``, event shape ``(C, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, a kernel size is not odd, there are fewer than three, the
            channels are odd, or features have another shape; from ``check``, as for :class:`PixelCNN`.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> likelihood = SkipPixelCNN((1, 8, 8), features=4, kernel_sizes=(5, 3, 3), channels=8)
        >>> likelihood(torch.zeros(3, 4, 8, 8)).sample().shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        num_bins: int = 2,
        kernel_sizes: Sequence[int] = (7, 7, 7, 5, 5, 3, 3),
        channels: int = 64,
    ) -> None:
        super().__init__(networks.SkipPixelCNN(event_shape, features, kernel_sizes, channels), features, num_bins)
