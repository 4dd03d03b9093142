"""The size of an encoder's output, and the linear head on top of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pyro_vaes.errors import InputError


def out_features(encoder: nn.Module) -> int:
    """Size of an encoder's output: its attribute ``out_features``, or that of its last linear layer.

    Raises:
        InputError: If the encoder has neither.

    Example:
        >>> out_features(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
        8
    """
    for module in (encoder, *reversed(list(encoder.modules()))):
        if isinstance(size := getattr(module, "out_features", None), int):
            return size
    raise InputError(
        f"{type(encoder).__name__} does not say how many features it gives: "
        "set its attribute `out_features` to the size of the last dimension of its output"
    )


def head_on(encoder: nn.Module, outputs: int, latent_dim: int) -> nn.Module:
    """The head of a guide on an encoder's features, a linear layer.

    An encoder with a method ``initialize_head`` initializes it; one with a method ``make_head`` makes another of
    2 ``latent_dim`` outputs, such as a convolution of maps.

    Raises:
        InputError: If the encoder makes the head, and the guide needs another number of outputs.

    Example:
        >>> head_on(nn.Linear(4, 8), outputs=2, latent_dim=1)
        Linear(in_features=8, out_features=2, bias=True)
    """
    make: Callable[[int], nn.Module] | None = getattr(encoder, "make_head", None)
    if make is None:
        head = nn.Linear(out_features(encoder), outputs)
        getattr(encoder, "initialize_head", lambda head: None)(head)
        return head
    if outputs != 2 * latent_dim:
        raise InputError(
            f"{type(encoder).__name__} gives a guide μ and σ, {2 * latent_dim} outputs, but this one needs {outputs}: "
            "take the guide MeanField or InverseAutoregressiveFlow, or another encoder"
        )
    return make(outputs)


def latent_features(encoder: nn.Module, latents: int) -> tuple[int, ...]:
    """Sizes of the features that an encoder gives for each latent of a hierarchy: its attribute ``out_features``.

    Raises:
        InputError: If the encoder does not say, or gives features for another number of latents.

    Example:
        >>> from pyro_vaes.networks import LadderMLPEncoder
        >>> latent_features(LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))), latents=2)
        (16, 8)
    """
    sizes = getattr(encoder, "out_features", None)
    if not isinstance(sizes, Sequence):
        raise InputError(
            f"{type(encoder).__name__} does not say how many features it gives for each latent: "
            "set its attribute `out_features` to their sizes, such as (256, 256), and return a list of features"
        )
    if len(sizes) != latents:
        raise InputError(
            f"{type(encoder).__name__} gives features of the sizes {tuple(sizes)}, but the model has {latents} "
            "latents: expected one size for each"
        )
    return tuple(sizes)
