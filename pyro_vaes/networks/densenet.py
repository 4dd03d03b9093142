"""Fully convolutional encoder and decoder, for latents that are feature maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks.conv import stage_sizes
from pyro_vaes.validation import checked_sizes

GROWTH = 16  # channels that one dense block adds, at most
BOTTLENECK = 4  # channels of the 1 x 1 convolution of a dense block, per channel that it adds


class DenseNetEncoder(nn.Module):
    """Fully convolutional DenseNet, x -> feature maps, whose guide puts a 1 x 1 convolution on top.

    At each resolution dense blocks (a 1 x 1 and a 3 x 3 convolution, whose output is appended to their input) add
    channels, as many as there are to be; strided convolutions halve the resolution in between. No layer is fully
    connected, so that the latent of the guide consists of maps, which are flattened in the order (channel, row,
    column), as in the prior ``ConvolutionalFlow``.

    Args:
        event_shape: shape ``(C, H, W)`` of one image.
        channels: channels at each resolution, from the image's upward, increasing.

    Attributes:
        map_size: height and width of the maps.

    Shapes:
        ``x (..., C, H, W)`` to ``(..., out_features)``, half of the last channels times height and width of the maps.

    Raises:
        InputError: If a size is not a positive integer, channels do not increase, or the image is too small for the
            number of resolutions.

    References:
        Densely Connected Convolutional Networks (Huang, Liu, van der Maaten, Weinberger, 2017);
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> encoder = DenseNetEncoder((3, 8, 8), channels=(6, 8, 12))
        >>> encoder(torch.zeros(5, 3, 8, 8)).shape, encoder.make_head(32)(encoder(torch.zeros(5, 3, 8, 8))).shape
        (torch.Size([5, 24]), torch.Size([5, 32]))
    """

    def __init__(self, event_shape: Sequence[int], channels: Sequence[int] = (48, 96, 192)) -> None:
        super().__init__()
        event_shape, channels = checked_sizes(event_shape=event_shape, channels=channels)
        self.map_size = stage_sizes(event_shape, len(channels) - 1)[-1]
        layers: list[nn.Module] = []
        for stage, (fan_in, fan_out) in enumerate(zip((event_shape[0], *channels[:-1]), channels, strict=True)):
            if fan_out <= fan_in:
                raise InputError(
                    f"channels are {channels} for images of {event_shape[0]} channels: expected each larger than the "
                    "one before, since dense blocks append channels"
                )
            if stage:
                layers += [nn.Conv2d(fan_in, fan_in, 3, 2, padding=1), nn.ELU()]
            layers += _dense_blocks(fan_in, fan_out)
        self.channels = max(1, channels[-1] // 2)
        self.net = nn.Sequential(*layers, nn.Conv2d(channels[-1], self.channels, 1), nn.ELU())
        self.out_features = self.channels * math.prod(self.map_size)

    def forward(self, x: Tensor) -> Tensor:
        """The maps at x, flattened."""
        return self.net(x.reshape(-1, *x.shape[-3:])).reshape(*x.shape[:-3], self.out_features)

    def make_head(self, outputs: int) -> nn.Module:
        """The head of a guide, a 1 x 1 convolution.

        Raises:
            InputError: If the outputs are no maps of this height and width.
        """
        size = math.prod(self.map_size)
        if outputs % size:
            raise InputError(
                f"the head has {outputs} outputs, which are no maps of {self.map_size[0]} x {self.map_size[1]}: take a "
                f"latent_dim that is a multiple of {size}"
            )
        return nn.Sequential(
            nn.Unflatten(-1, (self.channels, *self.map_size)), _AnyBatch(self.channels, outputs // size), nn.Flatten(-3)
        )


class DenseNetDecoder(nn.Module):
    """Decoder of feature maps: transposed convolutions that each double the resolution, then a 1 x 1 convolution.

    Args:
        latent_dim: size Z of the latent, flattened maps.
        event_shape: shape ``(F, H, W)`` of the features of one image.
        channels: channels at each resolution, from the latent's downward (the encoder's, reversed); the first stand
            for the latent, which has its own number of maps.

    Shapes:
        ``z (..., Z)`` to ``(..., F, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, the latent is not made of maps, or the image is too small for
            the number of resolutions.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> DenseNetDecoder(12, (4, 9, 7), channels=(12, 8, 6))(torch.zeros(5, 12)).shape
        torch.Size([5, 4, 9, 7])
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int], channels: Sequence[int] = (192, 96, 48)) -> None:
        super().__init__()
        (latent_dim,), event_shape, channels = checked_sizes(
            latent_dim=(latent_dim,), event_shape=event_shape, channels=channels
        )
        sizes = stage_sizes(event_shape, len(channels) - 1)[::-1]
        size = math.prod(sizes[0])
        if latent_dim % size:
            raise InputError(
                f"latent_dim is {latent_dim}, which are no maps of {sizes[0][0]} x {sizes[0][1]}: take a multiple of "
                f"{size}, such as {16 * size}"
            )
        maps = latent_dim // size
        fans = (maps, *channels[1:])
        layers: list[nn.Module] = [nn.Unflatten(-1, (maps, *sizes[0]))]
        for fan_in, fan_out, small, large in zip(fans[:-1], fans[1:], sizes[:-1], sizes[1:], strict=True):
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers += [nn.ConvTranspose2d(fan_in, fan_out, 3, 2, padding=1, output_padding=padding), nn.ELU()]
        self.net = nn.Sequential(*layers, nn.Conv2d(fans[-1], event_shape[0], 1))
        self.event_shape = torch.Size(event_shape)

    def forward(self, z: Tensor) -> Tensor:
        """Features of the likelihood at z."""
        return self.net(z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1] + self.event_shape)


class _DenseBlock(nn.Module):
    """A 1 x 1 and a 3 x 3 convolution, whose output is appended to their input."""

    def __init__(self, fan_in: int, growth: int) -> None:
        super().__init__()
        hidden = BOTTLENECK * growth
        self.net = nn.Sequential(nn.Conv2d(fan_in, hidden, 1), nn.ELU(), nn.Conv2d(hidden, growth, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(torch.cat([x, self.net(x)], 1))


class _AnyBatch(nn.Conv2d):
    """A 1 x 1 convolution under any number of leading dimensions."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, fan_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -4)).reshape(*x.shape[:-3], -1, *x.shape[-2:])


def _dense_blocks(fan_in: int, fan_out: int) -> list[nn.Module]:
    """Dense blocks of nearly equal growth, which is ``GROWTH`` at most."""
    count = -(-(fan_out - fan_in) // GROWTH)
    widths = [fan_in + step * (fan_out - fan_in) // count for step in range(count + 1)]
    return [_DenseBlock(width, following - width) for width, following in itertools.pairwise(widths)]
