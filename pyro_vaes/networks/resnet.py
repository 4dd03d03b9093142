"""Residual encoder and decoder for images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.networks.conv import stage_sizes
from pyro_vaes.validation import checked_sizes


class ResNetEncoder(nn.Module):
    """Stride-2 residual blocks, then one fully connected layer: x -> hidden features.

    Args:
        event_shape: shape ``(C, H, W)`` of one image.
        channels: channels of each block, from the image upward.
        hidden: size of the fully connected layer.

    Shapes:
        ``x (..., C, H, W)`` to ``(..., out_features)`` with ``out_features = hidden``.

    Raises:
        InputError: If a size is not a positive integer, or the image is too small for the number of blocks.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> ResNetEncoder((3, 9, 7), channels=(8, 16), hidden=32)(torch.zeros(5, 2, 3, 9, 7)).shape
        torch.Size([5, 2, 32])
    """

    def __init__(self, event_shape: Sequence[int], channels: Sequence[int] = (32, 64, 64), hidden: int = 512) -> None:
        super().__init__()
        event_shape, channels, _ = checked_sizes(event_shape=event_shape, channels=channels, hidden=(hidden,))
        sizes = stage_sizes(event_shape, len(channels))
        fans = zip((event_shape[0], *channels[:-1]), channels, strict=True)
        blocks = [_Block(*fan, stride=2) for fan in fans]
        height, width = sizes[-1]
        self.net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels[-1] * height * width, hidden), nn.ELU())
        self.out_features = hidden

    def forward(self, x: Tensor) -> Tensor:
        """Hidden features of x."""
        return self.net(x.reshape(-1, *x.shape[-3:])).reshape(*x.shape[:-3], self.out_features)


class ResNetDecoder(nn.Module):
    """Two fully connected layers, then residual blocks that each upsample by two: z -> features.

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape ``(F, H, W)`` of the features of one image.
        channels: channels of each block, from the latent downward (the encoder's, reversed).
        hidden: size of the first fully connected layer.

    Shapes:
        ``z (..., Z)`` to ``(..., F, H, W)``.

    Raises:
        InputError: If a size is not a positive integer, or the image is too small for the number of blocks.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> ResNetDecoder(2, (4, 9, 7), channels=(16, 8), hidden=32)(torch.zeros(5, 2)).shape
        torch.Size([5, 4, 9, 7])
    """

    def __init__(
        self,
        latent_dim: int,
        event_shape: Sequence[int],
        channels: Sequence[int] = (64, 64, 32),
        hidden: int = 512,
    ) -> None:
        super().__init__()
        event_shape, channels, _, _ = checked_sizes(
            event_shape=event_shape, channels=channels, hidden=(hidden,), latent_dim=(latent_dim,)
        )
        sizes = stage_sizes(event_shape, len(channels))[::-1]
        height, width = sizes[0]
        fans = zip(channels, (*channels[1:], channels[-1]), strict=True)
        blocks = [
            nn.Sequential(nn.Upsample(size), _Block(*fan, stride=1)) for fan, size in zip(fans, sizes[1:], strict=True)
        ]
        self.net = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.ELU(),
            nn.Linear(hidden, channels[0] * height * width),
            nn.ELU(),
            nn.Unflatten(-1, (channels[0], height, width)),
            *blocks,
            nn.Conv2d(channels[-1], event_shape[0], 1),
        )
        self.event_shape = torch.Size(event_shape)

    def forward(self, z: Tensor) -> Tensor:
        """Features of the likelihood at z."""
        return self.net(z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1] + self.event_shape)


class LinearDecoder(nn.Sequential):
    """One linear layer and ELU: z -> features, enough under an autoregressive likelihood, which has layers of its own.

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape ``(F, H, W)`` of the features of one image.

    Shapes:
        ``z (..., Z)`` to ``(..., F, H, W)``.

    Raises:
        InputError: If a size is not a positive integer.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019), its code.

    Example:
        >>> LinearDecoder(2, (4, 9, 7))(torch.zeros(5, 3, 2)).shape
        torch.Size([5, 3, 4, 9, 7])
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int]) -> None:
        (latent_dim,), event_shape = checked_sizes(latent_dim=(latent_dim,), event_shape=event_shape)
        super().__init__(nn.Linear(latent_dim, math.prod(event_shape)), nn.ELU(), nn.Unflatten(-1, event_shape))


class _Block(nn.Module):
    """A residual block; with stride 2 it halves the image."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride, padding=1), nn.ELU(), nn.Conv2d(fan_out, fan_out, 3, padding=1)
        )
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.shortcut(x) + self.change(x))
