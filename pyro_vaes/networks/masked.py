"""Masked layers, the building blocks of autoregressive networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """Masked linear layer, y = (M ∘ W) x + b.

    Args:
        mask: M, true where an output depends on an input.

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
        if not mask.any():  # the output does not depend on the weight, which is then not a parameter
            weight = self.weight.detach()
            del self.weight
            self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """(M ∘ W) x + b."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedConv2d(nn.Conv2d):
    """Convolution whose receptive field at row r and column c is a rectangle at any offset from (r, c).

    The rectangle spans rows r + ``rows[0]`` to r + ``rows[1]`` and columns c + ``columns[0]`` to c + ``columns[1]``,
    with zero padding. In raster order, type A, which excludes (r, c), is ``rows=(-k, -1)`` for the rows above and
    ``rows=(0, 0), columns=(-k, -1)`` for the pixels on the left; type B, which includes (r, c), has ``(-k, 0)``
    instead. Weights outside the mask are not stored and cost nothing. With a stride of 2 the output at (r, c) is the
    one at (2r, 2c) without.

    Args:
        fan_in: channels of the input.
        fan_out: channels of the output.
        rows: first and last row of the rectangle, relative to the output's row.
        columns: first and last column of the rectangle, relative to the output's column.
        stride: stride of rows and columns.

    Shapes:
        ``(N, fan_in, H, W)`` to ``(N, fan_out, H, W)``, with a stride of 2 to ``(N, fan_out, ⌈H / 2⌉, ⌈W / 2⌉)``.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016), for types A and B.

    Example:
        >>> MaskedConv2d(1, 4, rows=(-2, -1), columns=(-1, 1))(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(
        self, fan_in: int, fan_out: int, rows: tuple[int, int], columns: tuple[int, int], stride: int = 1
    ) -> None:
        super().__init__(fan_in, fan_out, (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1), stride)
        self.pad = (-columns[0], columns[1], -rows[0], rows[1])  # left, right, top and bottom; negative ones crop

    def forward(self, x: Tensor) -> Tensor:
        """The output at every pixel."""
        return self.forward_valid(F.pad(x, self.pad))

    def forward_valid(self, padded: Tensor) -> Tensor:
        """The output of the convolution without padding, for any region of a padded input."""
        return super().forward(padded)

    def new_cache(self, like: Tensor) -> Tensor:
        """A padded input of zeros for images like these, to be filled by :meth:`update_cache` in generation."""
        columns, rows = sum(map(_positive, self.pad[:2])), sum(map(_positive, self.pad[2:]))
        return like.new_zeros(len(like), self.in_channels, like.shape[-2] + rows, like.shape[-1] + columns)

    def update_cache(self, cache: Tensor, values: Tensor, row: int, column: int) -> None:
        """Write a block of the input into a cache, with its top left pixel at this row and column of the image."""
        row, column = row + _positive(self.pad[2]), column + _positive(self.pad[0])
        cache[..., row : row + values.shape[-2], column : column + values.shape[-1]] = values


class CausalConv2d(MaskedConv2d):
    """Causal convolution: neighbors on the left and in the rows above, and the own pixel's channels by a mask.

    Args:
        mask: true where an output depends on an input channel of its own pixel.
        kernel_size: odd size K of the square whose preceding pixels are seen.

    Shapes:
        ``mask (out, in)``; ``(N, in, H, W)`` to ``(N, out, H, W)``.

    References:
        Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016), for channels in order.

    Example:
        >>> CausalConv2d(torch.ones(4, 4).tril(-1) > 0)(torch.zeros(3, 4, 8, 8)).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(self, mask: Tensor, kernel_size: int = 3) -> None:
        reach = kernel_size // 2
        super().__init__(mask.shape[1], mask.shape[0], rows=(-reach, 0), columns=(-reach, reach))
        self.mask: Tensor
        self.register_buffer("mask", torch.ones_like(self.weight))
        self.mask[..., -1, reach] = mask
        self.mask[..., -1, reach + 1 :] = 0

    def forward_valid(self, padded: Tensor) -> Tensor:
        """The output of the convolution without padding, for any region of a padded input."""
        return F.conv2d(padded, self.weight * self.mask, self.bias)


def _positive(value: int) -> int:
    return max(0, value)
