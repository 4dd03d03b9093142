"""The network of PixelCNN++: two streams of shifted convolutions with down- and upsampling."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks.autoregressive import AutoregressiveNetwork
from pyro_vaes.networks.masked import MaskedConv2d
from pyro_vaes.networks.weight_norm import set_init_scale
from pyro_vaes.networks.windows import Reach, checked_window, divide_window, format_window
from pyro_vaes.validation import checked_sizes

RESOLUTIONS = 3
FULL, POINT = Reach(1, 1, 1), Reach(0, 0, 0)
Streams = tuple[Tensor, Tensor]


class DownsamplingPixelCNN(AutoregressiveNetwork):
    """Network of PixelCNN++: hidden units at each pixel that depend on the preceding pixels and on feature maps.

    The stream down sees the rows above; the stream down and right sees the pixels on the left too, and takes the other
    stream as input. Gated residual blocks, x + a ∘ sigmoid(b), are made of 2 x 3 and 2 x 2 shifted convolutions of
    concatenated ELUs. Strided ones halve the resolution between groups of blocks; in the second half transposed ones
    double it again, and each block has a skip connection from the block of the first half at its depth. The feature
    maps, halved by strided convolutions, enter the gates of every block.

    Feature maps at a lower resolution see far, so that a network with a window A x B (see :class:`GatedPixelCNN`) has
    one resolution: its rows and columns are divided evenly among the first layer and the first convolution of each
    block, the second convolution is 1 x 1, and the window is exact.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps, of the image's height and width.
        window: ``(A, B)``; by default none.
        resolutions: number of resolutions, each half of the one before; 3, or 1 with a window, by default.
        blocks: blocks per resolution in the first half, and as many in the second, which has one more at each
            resolution but the lowest.
        channels: hidden channels.
        dropout: probability of dropout within blocks.

    Attributes:
        window: ``(A, B)``, or None.

    Shapes:
        image ``(N, C, H, W)`` and features ``(N, F, H, W)`` to hidden units ``(N, H, W, channels)``.

    Raises:
        InputError: If a size is not a positive integer, the window is larger than the image or stands beside several
            resolutions, or the dropout is no probability below 1.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017).

    Example:
        >>> network = DownsamplingPixelCNN((3, 8, 8), features=4, blocks=1, channels=8)
        >>> network(torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        window: Sequence[int] | None = None,
        resolutions: int | None = None,
        blocks: int = 5,
        channels: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(event_shape, features, channels)
        self.window = None if window is None else checked_window(self.event_shape, window)
        resolutions = resolutions or (RESOLUTIONS if window is None else 1)
        checked_sizes(resolutions=(resolutions,), blocks=(blocks,))
        if self.window is not None and resolutions > 1:
            raise InputError(
                f"resolutions is {resolutions}, but lower resolutions see more than the window "
                f"{format_window(self.window)}: leave one of the two out"
            )
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout}: expected a probability below 1, such as 0.5")
        reaches: Iterator[Reach | None] = itertools.repeat(None)
        first = Reach(2, 1, 1)
        if self.window is not None:
            first, *others = divide_window(self.window, 1 + 2 * blocks)
            reaches = iter(others)
        fan_in, own_row = self.event_shape[0] + 1, (-int(self.window is None), 0)
        self.down = MaskedConv2d(fan_in, channels, (-first.above, -1), (-first.left, first.right))
        self.above = MaskedConv2d(fan_in, channels, (-1, -1), (-first.left, first.right))
        self.left = MaskedConv2d(fan_in, channels, own_row, (-first.left, -1))

        def group(count: int, skip: bool) -> nn.ModuleList:
            return nn.ModuleList(_Block(channels, features, next(reaches), skip, dropout) for _ in range(count))

        first_half = nn.ModuleList(group(blocks, skip=False) for _ in range(resolutions))
        second_half = nn.ModuleList(group(blocks + (each > 0), skip=True) for each in range(resolutions))
        self.first_half: Iterable[Iterable[_Block]] = first_half  # type: ignore[assignment]
        self.second_half: Iterable[Iterable[_Block]] = second_half  # type: ignore[assignment]
        self.downsampling = nn.ModuleList(_Downsampling(channels) for _ in range(1, resolutions))
        self.upsampling = nn.ModuleList(_Upsampling(channels) for _ in range(1, resolutions))
        halving = nn.ModuleList(nn.Conv2d(features, features, 3, 2, padding=1) for _ in range(1, resolutions))
        self.halving: Iterable[nn.Conv2d] = halving  # type: ignore[assignment]

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Hidden units of all pixels, in one pass."""
        maps = [features]
        for halve in self.halving:
            maps.append(F.elu(halve(maps[-1])))
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)  # which tells the image from its padding
        streams = self.down(x), self.above(x) + self.left(x)
        skips = [streams]
        for resolution, blocks in enumerate(self.first_half):
            if resolution:
                streams = self.downsampling[resolution - 1](*streams)
                skips.append(streams)
            for block in blocks:
                streams = block(*streams, maps[resolution])
                skips.append(streams)
        streams = skips.pop()
        for distance, blocks in enumerate(self.second_half):
            if distance:
                streams = self.upsampling[distance - 1](*streams, skips[-1][0].shape[-2:])
            for block in blocks:
                streams = block(*streams, maps[-1 - distance], *skips.pop())
        return F.elu(streams[1]).movedim(1, -1)


class _Block(nn.Module):
    """A gated residual block of both streams."""

    def __init__(self, channels: int, features: int, reach: Reach | None, skip: bool, dropout: float) -> None:
        super().__init__()
        down = (FULL, FULL) if reach is None else (reach, POINT)
        right = (Reach(1, 1, 0),) * 2 if reach is None else (Reach(0, reach.left, 0), POINT)
        self.down = _Stream(channels, features, down, int(skip), dropout)
        self.right = _Stream(channels, features, right, 1 + skip, dropout)

    def forward(self, down: Tensor, right: Tensor, maps: Tensor, *skips: Tensor) -> Streams:
        down = self.down(down, maps, *skips[:1])
        return down, self.right(right, maps, down, *skips[1:])


class _Stream(nn.Module):
    """x + a ∘ sigmoid(b), from two convolutions with concatenated ELUs; further inputs are added in between."""

    def __init__(self, channels: int, features: int, reaches: tuple[Reach, Reach], inputs: int, dropout: float) -> None:
        super().__init__()
        self.first = _shifted(2 * channels, channels, reaches[0])
        self.inputs = nn.Conv2d(2 * inputs * channels, channels, 1) if inputs else None
        self.dropout = nn.Dropout(dropout)
        self.second = _shifted(2 * channels, 2 * channels, reaches[1])
        self.condition = nn.Conv2d(features, 2 * channels, 1)
        for outputs in (self.second, self.condition):
            set_init_scale(outputs, 0.1)  # so that blocks are nearly the identity at first

    def forward(self, x: Tensor, maps: Tensor, *inputs: Tensor) -> Tensor:
        hidden = self.first(_concatenated_elu(x))
        if self.inputs is not None:
            hidden = hidden + self.inputs(_concatenated_elu(torch.cat(inputs, 1)))
        outputs = self.second(self.dropout(_concatenated_elu(hidden))) + self.condition(maps)
        value, gate = outputs.chunk(2, 1)
        return x + value * gate.sigmoid()


class _Downsampling(nn.Module):
    """Strided convolutions of both streams."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = _shifted(channels, channels, FULL, stride=2)
        self.right = _shifted(channels, channels, Reach(1, 1, 0), stride=2)

    def forward(self, down: Tensor, right: Tensor) -> Streams:
        return self.down(down), self.right(right)


class _Upsampling(nn.Module):
    """Transposed convolutions of both streams, cropped on the side of the following pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.ConvTranspose2d(channels, channels, (2, 3), 2, output_padding=1)
        self.right = nn.ConvTranspose2d(channels, channels, (2, 2), 2, output_padding=1)

    def forward(self, down: Tensor, right: Tensor, size: Sequence[int]) -> Streams:
        height, width = size
        return self.down(down)[:, :, :height, 1 : 1 + width], self.right(right)[:, :, :height, :width]


def _shifted(fan_in: int, fan_out: int, reach: Reach, stride: int = 1) -> MaskedConv2d:
    """A convolution that sees its own pixel and a reach around it."""
    return MaskedConv2d(fan_in, fan_out, (-reach.above, 0), (-reach.left, reach.right), stride)


def _concatenated_elu(x: Tensor) -> Tensor:
    return F.elu(torch.cat([x, -x], 1))
