"""Base class of autoregressive networks of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.networks.windows import divide_window
from pyro_vaes.validation import checked_sizes


class AutoregressiveNetwork(nn.Module):
    """Base class of networks whose hidden units at a pixel depend on the preceding pixels and on feature maps.

    A new network implements :meth:`forward`.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps, of the image's height and width.
        channels: hidden channels.

    Attributes:
        window: width and height of the window of preceding pixels that are seen, or None.

    Shapes:
        image ``(N, C, H, W)`` and features ``(N, F, H, W)`` to hidden units ``(N, H, W, channels)``.

    Raises:
        InputError: If a size is not a positive integer, or the shape is not that of an image.
    """

    window: tuple[int, int] | None = None

    def __init__(self, event_shape: Sequence[int], features: int, channels: int) -> None:
        super().__init__()
        event_shape, _, _ = checked_sizes(event_shape=event_shape, features=(features,), channels=(channels,))
        if len(event_shape) != 3:
            raise InputError(f"event_shape is {tuple(event_shape)}: PixelCNN needs images (C, H, W)")
        self.event_shape, self.channels = torch.Size(event_shape), channels

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Hidden units of all pixels, in one pass."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward(x, features)")

    @torch.no_grad()
    def generate(self, features: Tensor, draw: Callable[[Tensor], Tensor], progress: bool = False) -> Tensor:
        """Sample images pixel by pixel in raster order, here by one pass per pixel, over its window or the whole image.

        Args:
            features: ``(N, F, H, W)``.
            draw: draws a pixel's value ``(N, C)`` given its hidden units ``(N, channels)``.
            progress: whether to show a progress bar.
        """
        x = features.new_zeros(len(features), *self.event_shape)
        for r in tqdm(range(self.event_shape[1]), unit=" rows", disable=not progress):
            for c in range(self.event_shape[2]):
                rows, columns = self._seen_from(r, c)
                hidden = self(x[:, :, rows, columns], features[:, :, rows, columns])
                x[:, :, r, c] = draw(hidden[:, r - rows.start, c - columns.start])
        return x

    def _seen_from(self, row: int, column: int) -> tuple[slice, slice]:
        """Rows and columns that hold a pixel and its window, which end where the image does."""
        if self.window is None:
            return slice(0, self.event_shape[1]), slice(0, self.event_shape[2])
        (reach,) = divide_window(self.window, 1)
        return slice(max(0, row - reach.above), row + 1), slice(max(0, column - reach.left), column + reach.right + 1)
