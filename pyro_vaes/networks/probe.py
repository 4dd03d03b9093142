"""Networks tried on a few inputs, which finds out sizes that do not fit before any training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.networks.shapes import out_features

#: What a network raises on inputs that do not fit it.
MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
SAMPLES, DATA = 2, 3
MIXED = 1e-3  # relative difference of features above which examples of a batch influence each other


def probe_decoder(features: Callable[..., Tensor], decoder: nn.Module, latent_dims: Sequence[int]) -> torch.Size:
    """Shape of the features of one datum, from a decoder that takes ``(B, Z)`` and ``(S, B, Z)`` alike.

    Args:
        features: the function of the latents to the features, the lowest latent first.
        decoder: the decoder in it, of whose dtype and device the latents are.
        latent_dims: size of each latent.

    Raises:
        InputError: If the decoder does not take latents of these sizes, or takes one batch dimension only.
    """
    like = reference_weight(decoder)
    z = [
        torch.linspace(-1, 1, SAMPLES * DATA * size, dtype=like.dtype, device=like.device).reshape(SAMPLES, DATA, size)
        for size in latent_dims
    ]
    flat_z = [each.flatten(0, 1) for each in z]
    with torch.no_grad(), torch.random.fork_rng([like.device] if like.is_cuda else []):
        try:
            flat = features(*flat_z)
        except NotImplementedError:
            raise
        except MISFITS as error:
            several = f"the sizes {tuple(latent_dims)}, the lowest first"
            sizes = several if len(latent_dims) > 1 else f"the prior's size {latent_dims[0]}"
            raise InputError(
                f"the decoder does not take latents of {sizes} ({error}): give priors and decoder the same latent sizes"
            ) from error
        try:
            samples = features(*z)
        except MISFITS as error:
            raise _one_batch_dimension(f"raises {type(error).__name__}: {error}") from error
        expected = (SAMPLES, DATA, *flat.shape[1:])
        if samples.shape != expected:
            raise _one_batch_dimension(f"gives features of shape {tuple(samples.shape)}, expected {expected}")
        if not (_agree(samples.flatten(0, 1), flat) or not _agree(features(*flat_z), flat)):  # or it draws noise
            raise _one_batch_dimension("gives other features than of each alone, since it mixes examples")
    return flat.shape[1:]


def check_encoder(encoder: nn.Module, event_shape: Sequence[int], has_head: bool) -> None:
    """Check that an encoder takes data of this shape, and gives as many features as it says.

    Args:
        encoder: the encoder.
        event_shape: shape of one datum.
        has_head: whether a linear head takes the features, of the size that :func:`out_features` finds.

    Raises:
        InputError: If it does not.
    """
    like = reference_weight(encoder)
    shape = (DATA, *event_shape)
    with evaluation_mode(encoder), torch.no_grad(), torch.random.fork_rng([like.device] if like.is_cuda else []):
        try:
            found = encoder(torch.zeros(shape, dtype=like.dtype, device=like.device))
        except MISFITS as error:
            raise InputError(
                f"the encoder does not take data (B, {', '.join(map(str, event_shape))}), the model's "
                f"({type(error).__name__}: {error}): give encoder and decoder the same data shape"
            ) from error
    if has_head and found.shape != (DATA, out_features(encoder)):
        raise InputError(
            f"the encoder gives features of shape {tuple(found.shape)} for data {shape}, expected "
            f"{(DATA, out_features(encoder))}: flatten its output, and set its attribute `out_features` to their number"
        )


def reference_weight(module: nn.Module) -> Tensor:
    """A floating-point weight or buffer of a module, of whose dtype and device its inputs are to be.

    Example:
        >>> reference_weight(nn.Linear(2, 3).double()).dtype
        torch.float64
    """
    weights = itertools.chain(module.parameters(), module.buffers())
    return next((value for value in weights if value.is_floating_point()), torch.empty(0))


def _one_batch_dimension(reason: str) -> InputError:
    return InputError(
        "the decoder takes latents (B, Z), but of (S, B, Z), S samples of each datum as in evaluation, it "
        f"{reason}\nWrap it, which merges the leading dimensions:\n    decoder = pyro_vaes.networks.BatchApply(decoder)"
    )


def _agree(features: Tensor, expected: Tensor) -> bool:
    """Whether features are equal up to rounding, relative to their size and to their variation over the data."""
    if features.is_meta:
        return True
    rounding = 100 * torch.finfo(expected.dtype).eps * expected.abs().amax()
    return bool(((features - expected).abs() <= MIXED * expected.std(0) + rounding).all())
