"""Checks of a model and its guide, before they are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vaes.errors import InputError
from pyro_vaes.given import split
from pyro_vaes.losses import Loss
from pyro_vaes.vae import LatentVariableModel


def check_pair(model: object, guide: object) -> torch.dtype:
    """Refuse what is no pair of a model and its guide; returns the type of their weights.

    Raises:
        InputError: If one is no module, the guide is that of another model, or the weights cannot be trained.
    """
    for name, module in (("model", model), ("guide", guide)):
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{name} is a {type(module).__name__}: fit trains torch modules, such as a VAE and a guide of it; put "
                f"a Pyro function into the forward of an nn.Module that has its networks"
            )
    assert isinstance(model, nn.Module) and isinstance(guide, nn.Module)  # noqa: PT018
    own, held = {*model.modules()}, [each for module in guide.modules() for each in _models_of(module)]
    if held and not own.intersection(held):
        raise InputError(
            f"the guide, a {type(guide).__name__}, refers to another {type(held[0]).__name__} than the model, so that "
            "two models would be trained: build the guide on this model, or copy both at once, copy.deepcopy((model, "
            "guide))"
        )
    weights = [p for module in (model, guide) for p in module.parameters()]
    if any(weight.is_inference() for weight in weights):
        raise InputError("the weights were made inside torch.inference_mode, which bars training: build both outside")
    dtypes = {weight.dtype for weight in weights} or {torch.float32}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        names = " and ".join(sorted(str(each).removeprefix("torch.") for each in dtypes))
        raise InputError(
            f"the weights of model and guide are {names}: fit trains float32 or float64, the same in both; call "
            ".float() or .double() on both, with precision='bfloat16' for layers in bfloat16"
        )
    return dtypes.pop()


def _models_of(module: nn.Module) -> list[LatentVariableModel]:
    """The models that a module refers to, registered or not."""
    return [each for each in (*vars(module).values(), *module.children()) if isinstance(each, LatentVariableModel)]


def set_mode(modules: Iterable[nn.Module], training: bool) -> None:
    """Set training or evaluation mode, for dropout and batch norm; a frozen module stays in evaluation mode.

    Args:
        modules: the model, and then its guide, which may hold the model as a part.
        training: whether they are trained now.

    Example:
        >>> vae = vae.requires_grad_(False)
        >>> set_mode([vae, guide], training=True)
        >>> vae.training, guide.training
        (False, True)
    """
    for module in reversed(list(modules)):
        weights = [weight.requires_grad for weight in module.parameters()]
        module.train(training and (any(weights) or not weights))


@contextlib.contextmanager
def unchanged_buffers(*modules: nn.Module) -> Iterator[None]:
    """Context manager inside which modules are in training mode, with their buffers and their mode restored on exit."""
    modes = [(each, each.training) for module in modules for each in module.modules()]
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    try:
        set_mode(modules, training=True)
        yield
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)
        for each, training in modes:
            each.training = training


@torch.no_grad()
def check_last_batch(model: nn.Module, guide: nn.Module, loss: Loss, x: Tensor, size: int, batch_size: int) -> None:
    """Refuse batches of one example, such as an epoch's last, that a layer of batch norm cannot take.

    Args:
        model: the model.
        guide: its guide.
        loss: the loss, which is tried on one example if there are such batches and such layers.
        x: training examples.
        size: number of training examples.
        batch_size: examples per gradient step.

    Raises:
        InputError: If the batch cannot be taken; names batch sizes that can.
    """
    norms = [each for module in (model, guide) for each in module.modules() if isinstance(each, _BatchNorm)]
    if not norms or (size - 1) % batch_size:
        return
    try:
        one, *views = next(split(1, x, model, guide))
        loss.objective(*views, one)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        fitting = [each for each in range(2, size + 1) if (size - 1) % each]
        near = sorted(sorted(fitting, key=lambda each: abs(each - batch_size))[:2])
        advice = f"take batch_size {' or '.join(map(str, near))}" if near else "give more training examples"
        raise InputError(
            f"of {size} training examples in batches of {batch_size} the last batch has one, of which batch norm "
            f"({type(norms[0]).__name__}) has no variance: {advice}"
        ) from error
