"""Weight normalization with data-dependent initialization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
FLOW_INIT_SCALE = 0.1  # of the networks of flows, as in the code of MAE (Ma, Zhou, Hovy, 2019)
CONSTANT = 1e-6  # standard deviation of an output below which it is taken for constant


def weight_normalize(*networks: nn.Module) -> None:
    """Weight normalization w = g v / ‖v‖ of all linear and convolutional layers, g and ‖v‖ per output channel.

    Outputs stay what they are. In ``fit``, before the first step, g and biases are set from the data, see
    :func:`initialize_weight_norm`.

    Args:
        *networks: networks, models or guides, changed in place; layers that are normalized already stay as they are.

    References:
        Weight Normalization (Salimans, Kingma, 2016).

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 5))
        >>> weight_normalize(network)
        >>> [tuple(p.shape) for p in network.parameters()]
        [(5,), (5, 1), (5, 3)]
    """
    for layer in _layers(networks):
        if "weight" not in layer._parameters:  # a masked layer without connections
            continue
        outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        _zero_masked(layer)
        parametrizations.weight_norm(layer, dim=outputs)
        with torch.no_grad():  # where w = 0, g = 0, and v is any direction
            direction = _direction(layer).transpose(0, outputs)
            direction[~direction.flatten(1).any(1)] = 1.0
        layer.register_buffer("initialized", torch.tensor(False))


@torch.no_grad()
def initialize_weight_norm(run: Callable[[], object], *networks: nn.Module) -> None:
    """Data-dependent initialization of weight-normalized layers, once.

    Sets g and biases such that each output channel of a layer has mean 0 and standard deviation 1 over a batch, or the
    layer's ``init_scale`` in place of 1 (see ``set_init_scale``), layer by layer in the order of their first calls.
    Frozen layers, and those that were initialized before, stay as they are.

    Args:
        run: a function that calls the networks on a batch of two or more.
        *networks: networks, models or guides.

    References:
        Weight Normalization (Salimans, Kingma, 2016).

    Example:
        >>> network, x = nn.Sequential(nn.Linear(3, 5)), torch.randn(100, 3)
        >>> weight_normalize(network)
        >>> initialize_weight_norm(lambda: network(x), network)
        >>> torch.allclose(network(x).std(0), torch.ones(5))
        True
    """
    new = [
        layer for layer in _layers(networks, normalized=True) if not layer.initialized and _gain(layer).requires_grad
    ]
    hooks = [layer.register_forward_hook(_standardize) for layer in new]
    try:
        if new:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    for layer in new:
        layer.initialized.fill_(True)  # type: ignore[operator]


def set_init_scale(network: nn.Module, scale: float) -> None:
    """Set the standard deviation that data-dependent initialization gives the outputs of a network's layers.

    Example:
        >>> layer = nn.Linear(3, 5)
        >>> set_init_scale(layer, 0.1)
        >>> layer.init_scale
        0.1
    """
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            layer.init_scale = scale  # type: ignore[assignment]


def _layers(networks: tuple[nn.Module, ...], normalized: bool = False) -> Iterator[nn.Module]:
    for network in networks:
        for layer in list(network.modules()):
            if isinstance(layer, LAYERS) and parametrize.is_parametrized(layer) == normalized:
                yield layer


def _gain(layer: nn.Module) -> Tensor:
    return layer.get_submodule("parametrizations.weight").original0  # type: ignore[return-value]


def _direction(layer: nn.Module) -> Tensor:
    return layer.get_submodule("parametrizations.weight").original1  # type: ignore[return-value]


def _zero_masked(layer: nn.Module) -> None:
    """Zero the masked weights, of which ‖v‖ and the gradient of v are then free."""
    if isinstance(mask := getattr(layer, "mask", None), Tensor):
        with torch.no_grad():
            layer.weight.mul_(mask)  # type: ignore[operator]


def _standardize(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
    """Scale and shift a layer at its first call, and return the output that it then has."""
    if layer.initialized:
        return None
    layer.initialized.fill_(True)  # type: ignore[operator]
    channel = -1 if isinstance(layer, nn.Linear) else 1
    channels_last = output.movedim(channel, -1)
    flat = channels_last.flatten(0, -2)
    deviation = flat.std(0)
    scale = torch.where(deviation > CONSTANT, getattr(layer, "init_scale", 1.0) / deviation, 1.0)
    mean = torch.zeros_like(scale) if layer.bias is None else flat.mean(0)
    gain = _gain(layer)
    gain.mul_(scale.view(gain.shape))
    if layer.bias is not None:
        layer.bias.sub_(mean).mul_(scale)  # type: ignore[operator]
    return ((channels_last - mean) * scale).movedim(-1, channel)
