"""MADE, fully connected and convolutional.

Hand-written, since Pyro's ``ConditionalAutoRegressiveNN`` evaluates the context once per draw instead of once per
datum, and has no convolutional form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks.masked import CausalConv2d, MaskedLinear
from pyro_vaes.validation import checked_sizes


class MADE(nn.Module):
    """Masked autoencoder: output i depends on the coordinates of its input before i, and on a context.

    A hidden unit of degree d depends on the first d coordinates in the order; degrees are spread evenly over
    0 … Z - 1.

    Args:
        size: number Z of coordinates.
        hidden: sizes of the hidden layers.
        outputs: number of outputs per coordinate.
        context: size of the context; 0 for none.
        reverse: whether the order is Z - 1 … 0 in place of 0 … Z - 1.

    Attributes:
        order: the coordinates in their order.
        context: input layer of the context, evaluated once for all inputs with one context; None without a context.

    Shapes:
        ``z (..., Z)`` to ``(..., outputs, Z)``; a context ``(..., context)`` passes through ``made.context`` first.

    Raises:
        InputError: If a size is not a positive integer.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle, 2015).

    Example:
        >>> made = MADE(3, hidden=(16,), outputs=2, context=5)
        >>> made(torch.zeros(4, 3), made.context(torch.zeros(4, 5))).shape
        torch.Size([4, 2, 3])
    """

    context: nn.Linear

    def __init__(
        self, size: int, hidden: Sequence[int] = (128,), outputs: int = 1, context: int = 0, reverse: bool = False
    ) -> None:
        (size,), hidden, (outputs,) = checked_sizes(size=(size,), hidden=hidden, outputs=(outputs,))
        super().__init__()
        self.size, self.width = size, outputs
        self.order = range(size)[::-1] if reverse else range(size)
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in _masks(self.order, hidden, outputs))
        self.register_module("context", nn.Linear(context, hidden[0], bias=False) if context else None)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """All outputs at z; ``context`` is the output of the layer of that name."""
        first, *others = self.layers
        value = first(z) if context is None else first(z) + context
        for layer in others:
            value = layer(F.elu(value))
        return value.unflatten(-1, (self.width, self.size))

    def outputs(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The outputs as a tuple, each ``(..., Z)``."""
        return self(z, context).unbind(-2)

    def outputs_at(self, i: int, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The outputs of coordinate i, each ``(..., 1)``."""
        return self(z, context)[..., i : i + 1].unbind(-2)


class ConvolutionalMADE(nn.Module):
    """Masked convolutions over feature maps: output i depends on coordinates of its input before i.

    The order is the raster order of the pixels, and that of the channels within a pixel. Each layer's output depends
    on its left neighbor, on the three neighbors above it, and on its own pixel's channels as in a :class:`MADE`.

    Args:
        event_shape: shape ``(C, H, W)`` of the maps, Z = C H W coordinates.
        channels: channels of the hidden layers.
        outputs: number of outputs per coordinate.
        reverse: whether the order of rows, columns and channels is reversed.

    Attributes:
        order: the coordinates in their order.
        reach: number of layers, hence of rows and columns around its pixel that an output depends on.

    Shapes:
        ``z (..., Z)`` to ``(..., outputs, Z)``.

    Raises:
        InputError: If a size is not a positive integer, or the shape is not that of feature maps.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016);
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle, 2015).

    Example:
        >>> ConvolutionalMADE((3, 4, 4), channels=(16,), outputs=2)(torch.zeros(5, 48)).shape
        torch.Size([5, 2, 48])
    """

    def __init__(
        self, event_shape: Sequence[int], channels: Sequence[int] = (64,), outputs: int = 1, reverse: bool = False
    ) -> None:
        event_shape, channels, (outputs,) = checked_sizes(
            event_shape=event_shape, channels=channels, outputs=(outputs,)
        )
        if len(event_shape) != 3:
            raise InputError(f"event_shape is {event_shape}: expected that of feature maps, (C, H, W)")
        super().__init__()
        self.event_shape, self.width, self.reverse, self.reach = event_shape, outputs, reverse, len(channels) + 1
        self.order = torch.arange(math.prod(event_shape)).unflatten(0, event_shape).movedim(0, -1).flatten().tolist()
        if reverse:
            self.order.reverse()
        first, *others = (CausalConv2d(mask) for mask in _masks(range(event_shape[0]), channels, outputs))
        self.layers = nn.Sequential(first, *itertools.chain(*((nn.ELU(), layer) for layer in others)))

    def forward(self, z: Tensor) -> Tensor:
        """All outputs at z."""
        return self._ordered(self.layers(self._maps(z)).reshape(*z.shape[:-1], self.width, z.shape[-1]))

    def outputs(self, z: Tensor) -> tuple[Tensor, ...]:
        """The outputs as a tuple, each ``(..., Z)``."""
        return self(z).unbind(-2)

    def outputs_at(self, i: int, z: Tensor) -> tuple[Tensor, ...]:
        """The outputs of coordinate i, each ``(..., 1)``, computed from its receptive field only."""
        channels, height, width = self.event_shape
        channel, pixel = divmod(z.shape[-1] - 1 - i if self.reverse else i, height * width)
        row, column = divmod(pixel, width)
        top, left = max(0, row - self.reach), max(0, column - self.reach)
        field = self._maps(z)[..., top : row + 1, left : column + self.reach + 1]
        outputs = self.layers(field)[:, channel::channels, -1, column - left]
        return outputs.reshape(*z.shape[:-1], self.width, 1).unbind(-2)

    def _maps(self, z: Tensor) -> Tensor:
        return self._ordered(z).reshape(-1, *self.event_shape)

    def _ordered(self, z: Tensor) -> Tensor:
        return z.flip(-1) if self.reverse else z


def _masks(order: Sequence[int], hidden: Sequence[int], outputs: int) -> list[Tensor]:
    """Masks of the layers, true where a unit is connected to one below: by order, and by degree for hidden units."""
    position = torch.tensor(order)
    degrees = [torch.linspace(0, len(order) - 1, units).round() for units in hidden]
    masks = [degrees[0].unsqueeze(-1) > position]
    masks += [above.unsqueeze(-1) >= below for below, above in itertools.pairwise(degrees)]
    return [*masks, position.repeat(outputs).unsqueeze(-1) >= degrees[-1]]
