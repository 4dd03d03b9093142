"""Weights of one network copied into another of the same architecture."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from pyro_vaes.errors import InputError


def check_sizes(source: Any, target: Any) -> None:
    """Refuse to copy from the guide of a model of another data shape or latent size; names both.

    Example:
        >>> check_sizes(vae, vae)
    """
    sizes = [(tuple(each.event_shape), each.latent_dim) for each in (source, target)]
    if sizes[0] != sizes[1]:
        there, here = (f"data of shape {shape} and {latent} latent dimensions" for shape, latent in sizes)
        raise InputError(f"the start has {there}, this guide's model {here}: give both models the same sizes")


def copy_weights(source: nn.Module, target: nn.Module, name: str) -> None:
    """Copy the weights and buffers of a network into another of the same architecture.

    Args:
        source: the network to copy from.
        target: the network to copy into.
        name: what the two are, for errors.

    Raises:
        InputError: If layers, names or shapes differ; names the first difference.

    Example:
        >>> copy_weights(nn.Linear(2, 3), nn.Linear(2, 4), "encoder")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the encoder to start from has another architecture: Linear(in_features=2,
        out_features=3, bias=True) where this one has Linear(in_features=2, out_features=4, bias=True). Build both with
        the same network and sizes
    """
    if difference := _difference(source, target):
        there, here = difference
        raise InputError(
            f"the {name} to start from has another architecture: {there} where this one has {here}. Build both with "
            "the same network and sizes"
        )
    target.load_state_dict(source.state_dict())


@torch.no_grad()
def copy_rows(source: nn.Module, target: nn.Module) -> None:
    """Copy the outputs of a linear layer or convolution into those of another with as many inputs.

    The rest of these are set to 0; where weights are normalized, by the gain g, since no direction v has length 0.

    Example:
        >>> layer = nn.Linear(1, 3)
        >>> copy_rows(nn.Linear(1, 2), layer)
        >>> layer(torch.ones(1))[2]
        tensor(0., grad_fn=<SelectBackward0>)
    """
    for (name, ours), theirs in zip(target.named_parameters(), source.parameters(), strict=True):
        if not name.endswith("original1"):
            ours.zero_()
        ours[: len(theirs)] = theirs[: len(ours)]
    for here, there in zip(target.buffers(), source.buffers(), strict=True):
        here.copy_(there)


def _difference(source: nn.Module, target: nn.Module) -> tuple[str, str] | None:
    """The first layer, weight or buffer in which two networks differ."""
    for there, here in (_lines(source, target), _shapes(source, target)):
        for one, other in zip_longest(there, here, fillvalue="nothing"):
            if one != other:
                return one, other
    return None


def _lines(*modules: nn.Module) -> list[list[str]]:
    """The layers of each network."""
    lines = [map(str.strip, str(module).split("\n")) for module in modules]
    return [[line.partition("): ")[2] or line for line in each if line != ")"] for each in lines]


def _shapes(*modules: nn.Module) -> list[list[str]]:
    """The weights and buffers of each network."""
    return [[f"{key} {tuple(value.shape)}" for key, value in each.state_dict().items()] for each in modules]
