"""Convolutional encoder and decoder for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.validation import checked_sizes


def stage_sizes(event_shape: Sequence[int], stages: int) -> list[tuple[int, int]]:
    """Height and width of an image and of its feature maps after each stride-2 stage."""
    if len(event_shape) != 3:
        raise InputError(
            f"event_shape is {tuple(event_shape)}: convolutions need images (C, H, W); "
            "for vectors take MLPEncoder and MLPDecoder"
        )
    height, width = event_shape[1:]
    fits = (min(height, width) - 1).bit_length()
    if stages > fits:
        raise InputError(
            f"{stages} stride-2 stages do not fit an image of {height} x {width}: the most is {fits}; "
            f"give at most {fits} sizes in `channels`"
        )
    sizes = [(height, width)]
    for _ in range(stages):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


class ConvEncoder(nn.Module):
    """Stride-2 convolutions, then one fully connected layer: x -> hidden features.

    Args:
        event_shape: shape ``(C, H, W)`` of one image.
        channels: channels of each stride-2 stage, from the image upward.
        hidden: size of the fully connected layer.
        activation: nonlinearity after each layer.

    Shapes:
        ``x (..., C, H, W)`` to ``(..., out_features)`` with ``out_features = hidden``.

    Example:
        >>> ConvEncoder((3, 9, 7), channels=(8, 16), hidden=32)(torch.zeros(5, 2, 3, 9, 7)).shape
        torch.Size([5, 2, 32])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        event_shape, channels, _ = checked_sizes(event_shape=event_shape, channels=channels, hidden=(hidden,))
        height, width = stage_sizes(event_shape, len(channels))[-1]
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip((event_shape[0], *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=2, padding=1), activation()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, hidden), activation()]
        self.net = nn.Sequential(*layers)
        self.out_features = hidden

    def forward(self, x: Tensor) -> Tensor:
        """Hidden features of x."""
        return self.net(x.reshape(-1, *x.shape[-3:])).reshape(*x.shape[:-3], self.out_features)


class ConvDecoder(nn.Module):
    """Two fully connected layers, then stride-2 transposed convolutions: z -> features of the likelihood.

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape ``(C, H, W)`` of the features of one image.
        channels: channels of each stage, from the latent downward (the encoder's, reversed).
        hidden: size of the first fully connected layer.
        activation: nonlinearity after each layer but the last.

    Shapes:
        ``z (..., Z)`` to ``(..., C, H, W)``.

    Example:
        >>> ConvDecoder(2, (3, 9, 7), channels=(16, 8), hidden=32)(torch.zeros(5, 2)).shape
        torch.Size([5, 3, 9, 7])
    """

    def __init__(
        self,
        latent_dim: int,
        event_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        event_shape, channels, _, _ = checked_sizes(
            event_shape=event_shape, channels=channels, hidden=(hidden,), latent_dim=(latent_dim,)
        )
        sizes = stage_sizes(event_shape, len(channels))[::-1]
        height, width = sizes[0]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, hidden),
            activation(),
            nn.Linear(hidden, channels[0] * height * width),
            nn.Unflatten(-1, (channels[0], height, width)),
        ]
        fans = zip(channels, (*channels[1:], event_shape[0]), strict=True)
        for (fan_in, fan_out), small, large in zip(fans, sizes[:-1], sizes[1:], strict=True):
            # both 2n - 1 and 2n were halved to n; the output padding restores the right one
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers += [
                activation(),
                nn.ConvTranspose2d(fan_in, fan_out, 3, 2, padding=1, output_padding=padding),
            ]
        self.net = nn.Sequential(*layers)
        self.event_shape = torch.Size(event_shape)

    def forward(self, z: Tensor) -> Tensor:
        """Features of the likelihood at z."""
        return self.net(z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1] + self.event_shape)
