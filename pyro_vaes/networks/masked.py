"""Layers that see part of their input: the stuff of autoregressive networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """Linear layer with connections left out: y = (M ∘ W) x + b.

    Args:
        mask: M, true where an output sees an input.

    Shapes:
        ``mask (out, in)``; ``x (..., in)`` to ``(..., out)``.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle, 2015).

    Example:
        >>> layer = MaskedLinear(torch.eye(2) > 0)
        >>> torch.autograd.functional.jacobian(layer, torch.zeros(2)).count_nonzero()
        tensor(2)
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.mask: Tensor
        self.register_buffer("mask", mask.to(self.weight.dtype))
        if not mask.any():  # a parameter that nothing depends on would never move
            weight = self.weight.detach()
            del self.weight
            self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """(M ∘ W) x + b."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedConv2d(nn.Conv2d):
    """Convolution whose output at row r and column c sees a rectangle of its input, placed anywhere around (r, c).

    It sees rows r + ``rows[0]`` to r + ``rows[1]`` and columns c + ``columns[0]`` to c + ``columns[1]``; beyond the
    picture are zeros. In the order of rows from top to bottom, each from left to right, type A, blind to (r, c), is
    ``rows=(-k, -1)`` for all above and ``rows=(0, 0), columns=(-k, -1)`` for the pixels on the left; type B, which
    sees (r, c), is ``(-k, 0)`` in their place. What a mask would make zero is not there and costs nothing.

    Args:
        fan_in: channels of the input.
        fan_out: channels of the output.
        rows: first and last row, relative to the output's.
        columns: first and last column, relative to the output's.

    Shapes:
        ``(N, fan_in, H, W)`` to ``(N, fan_out, H, W)``.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016), for types A and B.

    Example:
        >>> MaskedConv2d(1, 4, rows=(-2, -1), columns=(-1, 1))(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(self, fan_in: int, fan_out: int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        super().__init__(fan_in, fan_out, (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1))
        self.around = (-columns[0], columns[1], -rows[0], rows[1])

    def forward(self, x: Tensor) -> Tensor:
        """Every pixel's output."""
        return self.forward_valid(F.pad(x, self.around))

    def forward_valid(self, region: Tensor) -> Tensor:
        """The outputs whose rectangles a region of the input holds; for the rectangle of one pixel, one output."""
        return super().forward(region)

    def new_cache(self, x: Tensor) -> Tensor:
        """Zeros of the size of the input that goes with an image like x, with what lies around it."""
        columns, rows = sum(map(_positive, self.around[:2])), sum(map(_positive, self.around[2:]))
        return x.new_zeros(len(x), self.in_channels, x.shape[-2] + rows, x.shape[-1] + columns)

    def update_cache(self, cache: Tensor, part: Tensor, row: int, column: int) -> None:
        """Write part of the input, whose first pixel is at a row and column, into what :meth:`new_cache` gave."""
        row, column = row + _positive(self.around[2]), column + _positive(self.around[0])
        cache[..., row : row + part.shape[-2], column : column + part.shape[-1]] = part


class CausalConv2d(MaskedConv2d):
    """Convolution whose output sees its left neighbour, the three above it, and of its own pixel what a mask allows.

    Args:
        mask: true where an output sees an input of its own pixel.

    Shapes:
        ``mask (out, in)``; ``(N, in, H, W)`` to ``(N, out, H, W)``.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016), for channels in order.

    Example:
        >>> CausalConv2d(torch.ones(4, 4).tril(-1) > 0)(torch.zeros(3, 4, 8, 8)).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0], rows=(-1, 0), columns=(-1, 1))
        self.mask: Tensor
        self.register_buffer("mask", torch.ones_like(self.weight))
        self.mask[..., 1, 1] = mask
        self.mask[..., 1, 2] = 0

    def forward_valid(self, region: Tensor) -> Tensor:
        """The outputs whose rectangles a region of the input holds."""
        return F.conv2d(region, self.weight * self.mask, self.bias)


def _positive(value: int) -> int:
    return max(0, value)
