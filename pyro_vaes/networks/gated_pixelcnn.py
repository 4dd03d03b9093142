"""The gated PixelCNN, the trunk of an autoregressive decoder of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.networks.autoregressive import AutoregressiveNetwork
from pyro_vaes.networks.masked import MaskedConv2d
from pyro_vaes.networks.windows import Reach, checked_window, divide_window, format_window
from pyro_vaes.validation import checked_sizes


class GatedPixelCNN(AutoregressiveNetwork):
    """Gated PixelCNN: hidden units at each pixel that depend on the preceding pixels in a window and on feature maps.

    The window A x B of a pixel is a rectangle of width A and height B above it, which begins ⌈(A - 1) / 2⌉ columns to
    its left, and as many pixels on its left in its own row. A vertical stack of convolutions covers the rows above; a
    horizontal stack covers the row and takes the vertical stack as input, so that the window has no blind spot. The
    window's rows and columns are divided evenly among the layers. Each layer is gated, tanh(a) ∘ sigmoid(b), has a
    residual connection, and is conditioned on the feature maps at its pixel.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps, of the image's height and width.
        window: ``(A, B)``; by default all preceding pixels, A = 2 W - 1 and B = H - 1.
        layers: number of layers.
        channels: hidden channels.
        tied: whether all layers after the first share their weights.

    Attributes:
        window: ``(A, B)``.

    Shapes:
        image ``(N, C, H, W)`` and features ``(N, F, H, W)`` to hidden units ``(N, H, W, channels)``.

    Raises:
        InputError: If a size is not a positive integer, the window is larger than the image, or tied layers would
            differ in size.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016);
        Variational Lossy Autoencoder (Chen et al., 2017), for windows.

    Example:
        >>> network = GatedPixelCNN((1, 8, 8), features=4, window=(7, 3), layers=3, channels=8)
        >>> network(torch.zeros(2, 1, 8, 8), torch.zeros(2, 4, 8, 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        window: Sequence[int] | None = None,
        layers: int = 6,
        channels: int = 32,
        tied: bool = False,
    ) -> None:
        super().__init__(event_shape, features, channels)
        checked_sizes(layers=(layers,))
        self.window = checked_window(self.event_shape, window)
        self.tied = tied
        reaches = divide_window(self.window, layers)
        if tied and len(set(reaches[1:])) > 1:
            raise InputError(
                f"tied layers must be of one size, but {layers} layers divide the window {format_window(self.window)} "
                f"unevenly: take a window such as {format_window((2 * layers + 1, layers))}, or tied=False"
            )
        self.first = _Layer(self.event_shape[0], channels, features, reaches[0], type_b=False)
        others = reaches[1:2] if tied else reaches[1:]
        self.others = nn.ModuleList(_Layer(channels, channels, features, reach, type_b=True) for reach in others)
        self.repeats = layers - 1 if tied else 1

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Hidden units of all pixels, in one pass."""
        above, left = x, x
        down = across = torch.zeros_like(x[:, :1])
        for layer in self._layers():
            change, context = layer.down(layer.above(above), layer.condition(features))
            down = down + change
            across = across + layer.across(layer.left(left), context)
            above, left = F.elu(down), F.elu(across)
        return left.movedim(1, -1)

    @torch.no_grad()
    def generate(self, features: Tensor, draw: Callable[[Tensor], Tensor], progress: bool = False) -> Tensor:
        """Sample images pixel by pixel in raster order, with cached activations.

        Args:
            features: ``(N, F, H, W)``.
            draw: draws a pixel's value ``(N, C)`` given its hidden units ``(N, channels)``.
            progress: whether to show a progress bar.
        """
        height, width = self.event_shape[1:]
        layers = self._layers()
        conditions = [layer.condition(features) for layer in layers]
        x = features.new_zeros(len(features), *self.event_shape)
        above = [layer.above.new_cache(x) for layer in layers]
        for r in tqdm(range(height), unit=" rows", disable=not progress):
            contexts, down = [], torch.zeros_like(x[:, :1, :1])
            for k, layer in enumerate(layers):
                size = layer.above.kernel_size[0]
                vertical = layer.above.forward_valid(above[k][:, :, r : r + size])
                change, context = layer.down(vertical, conditions[k][:, :, r : r + 1])
                contexts.append(context)
                down = down + change
                if k + 1 < len(layers):
                    layers[k + 1].above.update_cache(above[k + 1], F.elu(down), r, 0)
            left = [layer.left.new_cache(x[:, :, :1]) for layer in layers]
            for c in range(width):
                across = torch.zeros_like(x[:, :1, :1, :1])
                for k, layer in enumerate(layers):
                    horizontal = layer.left.forward_valid(left[k][..., c : c + layer.left.kernel_size[1]])
                    across = across + layer.across(horizontal, contexts[k][..., c : c + 1])
                    if k + 1 < len(layers):
                        layers[k + 1].left.update_cache(left[k + 1], F.elu(across), 0, c)
                pixel = draw(F.elu(across)[..., 0, 0])[..., None, None]
                x[:, :, r : r + 1, c : c + 1] = pixel
                layers[0].left.update_cache(left[0], pixel, 0, c)
            layers[0].above.update_cache(above[0], x[:, :, r : r + 1], r, 0)
        return x

    def _layers(self) -> list[_Layer]:
        return [self.first, *(list(self.others) * self.repeats)]  # type: ignore[list-item]


class _Layer(nn.Module):
    """One layer of both stacks, of type A, which excludes the pixel itself, or of type B, which includes it."""

    def __init__(self, fan_in: int, channels: int, features: int, reach: Reach, type_b: bool) -> None:
        super().__init__()
        above, left, right = reach
        last = 0 if type_b else -1
        self.above = MaskedConv2d(fan_in, 2 * channels, rows=(-above, last), columns=(-left, right))
        self.left = MaskedConv2d(fan_in, 2 * channels, rows=(0, 0), columns=(-left, last))
        self.condition = nn.Conv2d(features, 4 * channels, 1)
        self.to_row = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def down(self, vertical: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Update of the vertical stack, and its input to the horizontal stack."""
        of_vertical, of_horizontal = condition.chunk(2, 1)
        units = vertical + of_vertical
        return _gate(units), self.to_row(units) + of_horizontal

    def across(self, horizontal: Tensor, context: Tensor) -> Tensor:
        """Update of the horizontal stack."""
        return self.out(_gate(horizontal + context))


def _gate(units: Tensor) -> Tensor:
    value, gate = units.chunk(2, 1)
    return value.tanh() * gate.sigmoid()
