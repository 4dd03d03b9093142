"""PixelCNNs of masked square convolutions in residual blocks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks.autoregressive import AutoregressiveNetwork
from pyro_vaes.networks.masked import CausalConv2d
from pyro_vaes.validation import check_whole, checked_sizes


class ResidualPixelCNN(AutoregressiveNetwork):
    """PixelCNN of masked K x K convolutions in residual blocks, with 1 x 1 residual blocks between them.

    The first layer is of type A, which excludes the pixel itself, and takes the feature maps through a convolution that
    is not masked. The others are of type B. A pixel sees (K - 1) / 2 rows above and as many columns on each side per
    layer, less the blind spot of masked square convolutions on its right.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps, of the image's height and width.
        layers: number of masked layers, the first one included.
        kernel_size: odd size K.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Shapes:
        image ``(N, C, H, W)`` and features ``(N, F, H, W)`` to hidden units ``(N, H, W, channels)``.

    Raises:
        InputError: If a size is not a positive integer, or K not odd.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016);
        Variational Lossy Autoencoder (Chen et al., 2017), with 6 layers of 3 x 3 and 12 channels, tied.

    Example:
        >>> network = ResidualPixelCNN((1, 8, 8), features=4, channels=8)
        >>> network(torch.zeros(2, 1, 8, 8), torch.zeros(2, 4, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        layers: int = 6,
        kernel_size: int = 3,
        channels: int = 12,
        tied: bool = False,
    ) -> None:
        super().__init__(event_shape, features, channels)
        checked_sizes(layers=(layers,))
        self.first = _First(self.event_shape[0], features, channels, kernel_size)
        blocks, self.repeats = (min(1, layers - 1), layers - 1) if tied else (layers - 1, 1)
        self.masked = nn.ModuleList(_masked_block(channels, kernel_size) for _ in range(blocks))
        self.pointwise = nn.ModuleList(_pointwise_block(channels) for _ in range(layers - 2))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Hidden units of all pixels, in one pass."""
        hidden = self.first(x, features)
        masked = list(self.masked) * self.repeats
        for block in filter(None, itertools.chain(*itertools.zip_longest(masked, self.pointwise))):
            hidden = block(hidden)
        return F.elu(hidden).movedim(1, -1)


class SkipPixelCNN(AutoregressiveNetwork):
    """PixelCNN of masked square convolutions of decreasing size in bottleneck blocks, with blocks as skip connections.

    A block is ELU(x + f(x)), with f a 1 x 1 convolution to half of the channels, a masked convolution of type B and a
    1 x 1 convolution back, with ELUs between. The input of block i is the output of the one before plus that of a
    further block at the output of block i - 3; the last output alike. The first layer is of type A, see
    :class:`ResidualPixelCNN`.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps, of the image's height and width.
        kernel_sizes: odd sizes of the masked convolutions, three or more, the first one that of type A.
        channels: hidden channels, an even number.

    Shapes:
        image ``(N, C, H, W)`` and features ``(N, F, H, W)`` to hidden units ``(N, H, W, channels)``.

    Raises:
        InputError: If a size is not a positive integer, a kernel size not odd, their number below three, or the
            channels are odd.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019), its code.

    Example:
        >>> network = SkipPixelCNN((1, 8, 8), features=4, kernel_sizes=(5, 3, 3), channels=8)
        >>> network(torch.zeros(2, 1, 8, 8), torch.zeros(2, 4, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        kernel_sizes: Sequence[int] = (7, 7, 7, 5, 5, 3, 3),
        channels: int = 64,
    ) -> None:
        super().__init__(event_shape, features, channels)
        if len(kernel_sizes) < 3:
            raise InputError(f"kernel_sizes are {tuple(kernel_sizes)}: expected three or more, such as (7, 5, 3)")
        if channels % 2:
            raise InputError(f"channels is {channels}: expected an even number, half of which a bottleneck has")
        self.first = _First(self.event_shape[0], features, channels, kernel_sizes[0])
        self.blocks = nn.ModuleList(_bottleneck(channels, size) for size in kernel_sizes[1:])
        self.skips = nn.ModuleList(_bottleneck(channels, size) for size in kernel_sizes[1:-1])

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Hidden units of all pixels, in one pass."""
        outputs = [F.elu(self.first(x, features))]
        for block in self.blocks:
            outputs.append(F.elu(block(self._with_skip(outputs))))
        return self._with_skip(outputs).movedim(1, -1)

    def _with_skip(self, outputs: Sequence[Tensor]) -> Tensor:
        """The last output, plus the skip connection from two outputs before it."""
        skipped = len(outputs) - 3
        return outputs[-1] if skipped < 0 else outputs[-1] + F.elu(self.skips[skipped](outputs[skipped]))


class _First(nn.Module):
    """A masked convolution of type A of the image, plus a convolution of the feature maps."""

    def __init__(self, colors: int, features: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.image = _masked(torch.zeros(channels, colors), kernel_size)
        self.maps = nn.Conv2d(features, channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        return self.image(x) + self.maps(features)


class _Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _masked_block(channels: int, kernel_size: int) -> nn.Module:
    return _Residual(nn.ELU(), _masked(torch.ones(channels, channels), kernel_size))


def _pointwise_block(channels: int) -> nn.Module:
    return _Residual(nn.ELU(), nn.Conv2d(channels, channels, 1), nn.ELU(), nn.Conv2d(channels, channels, 1))


def _bottleneck(channels: int, kernel_size: int) -> nn.Module:
    half = channels // 2
    masked = _masked(torch.ones(half, half), kernel_size)
    return _Residual(nn.Conv2d(channels, half, 1), nn.ELU(), masked, nn.ELU(), nn.Conv2d(half, channels, 1))


def _masked(mask: Tensor, kernel_size: int) -> CausalConv2d:
    """A masked convolution of type A for a mask of zeros, of type B for one of ones."""
    if not check_whole("kernel_size", kernel_size) % 2:
        raise InputError(f"a kernel size is {kernel_size}: expected an odd number, such as 3")
    return CausalConv2d(mask, kernel_size)
