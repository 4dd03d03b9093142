"""Residual encoder and decoder for images, and data-dependent weight normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from pyro_vaes.errors import InputError
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


def weight_normalize(network: nn.Module, inputs: Tensor) -> None:
    """Weight normalization w = g v / ‖v‖ of all linear and convolutional layers, with data-dependent initialization.

    It sets g and the biases such that each output channel of each layer has mean 0 and variance 1 over the inputs.

    Args:
        network: the network; changed in place.
        inputs: a batch of the network's inputs: images for an encoder, draws from the prior for a decoder.

    Raises:
        InputError: If the batch holds a single input, whose variance is not defined.

    References:
        Weight Normalization (Salimans, Kingma, 2016).

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 5))
        >>> inputs = torch.randn(100, 3)
        >>> weight_normalize(network, inputs)
        >>> torch.allclose(network(inputs).std(0), torch.ones(5))
        True
    """
    if len(inputs) < 2:
        raise InputError(f"weight_normalize got a batch of {len(inputs)}: it sets variances, give it 2 or more")
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    hooks = []
    for layer in layers:
        parametrizations.weight_norm(layer)
        hooks.append(layer.register_forward_hook(_standardize))
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()


def _standardize(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Scale and shift a layer such that its output has mean 0 and variance 1, and return that output."""
    channel = -1 if isinstance(layer, nn.Linear) else 1
    channels_last = output.movedim(channel, -1)
    flat = channels_last.flatten(0, -2)
    mean, scale = flat.mean(0), flat.std(0).clamp_min(1e-6)
    gain: Tensor = layer.get_submodule("parametrizations.weight").original0  # type: ignore[assignment]
    gain.div_(scale.view(-1, *[1] * (gain.dim() - 1)))
    layer.bias.sub_(mean).div_(scale)  # type: ignore[operator]
    return ((channels_last - mean) / scale).movedim(-1, channel)


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
