"""Optimizers of ``torch.optim``, by name with options such as ``adamw(weight_decay=0.01)``, or a class of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vaes.errors import InputError, shown, unknown
from pyro_vaes.recipes.options import apply_options, errors_of
from pyro_vaes.recipes.spec import description, parse

#: Gives the optimizer of some weights, ``make(weights, lr=lr)``, as the classes of ``torch.optim`` do.
OptimizerFactory = Callable[..., Optimizer]

#: Optimizers of torch that no training here can use, and why.
UNFIT = {
    "lbfgs": "it evaluates the loss several times per step",
    "muon": "it takes matrices alone, and networks have biases",
    "sparseadam": "it takes sparse gradients alone",
}
#: Optimizers of torch by name.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    each.__name__.lower(): each
    for each in vars(torch.optim).values()
    if isinstance(each, type)
    and issubclass(each, Optimizer)
    and each is not Optimizer
    and each.__name__.lower() not in UNFIT
}
IMPLEMENTATIONS = ("fused", "foreach")  # of an optimizer, the fastest first


def build_optimizer(made: str | OptimizerFactory, weights: Sequence[Tensor], lr: float) -> Optimizer:
    """The optimizer of some weights, in the fastest implementation that its class has.

    Args:
        made: the name of a class of ``torch.optim`` with options, or a function that takes the weights and ``lr``.
        weights: the weights.
        lr: the learning rate.

    Raises:
        InputError: If the name is unknown, options are wrong, or the optimizer is none that takes a step after a
            backward pass on all of these weights.

    Example:
        >>> build_optimizer("sgd(momentum=0.9)", [nn.Parameter(torch.zeros(2))], lr=0.1).defaults["momentum"]
        0.9
    """
    if isinstance(made, str):
        name, options = parse(made)
        kind = _resolve(name)
        fast = {} if options.keys() & {*IMPLEMENTATIONS, "differentiable"} else _implementation(kind, weights)
        return apply_options("optimizer", made, kind, weights, lr, **{**fast, **options})
    with errors_of("optimizer", description(made)):
        optimizer = made(weights, lr=lr)
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer gives {shown(optimizer)}: expected an optimizer of torch for the weights")
    _refuse_unfit(type(optimizer).__name__)
    if {id(each) for group in optimizer.param_groups for each in group["params"]} != {id(each) for each in weights}:
        raise InputError(
            "optimizer trains other weights than it was given: expected one of all weights that it is given"
        )
    return optimizer


@torch.no_grad()
def state_shapes(optimizer: Optimizer, weights: Sequence[Tensor]) -> dict[Tensor, Mapping[str, Any]]:
    """The state that an optimizer keeps of each weight after a first step: names, and shapes of what are tensors.

    The weights are left as they were, without gradients.

    Args:
        optimizer: a new optimizer of the weights, which takes its first step.
        weights: the weights.

    Example:
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> state_shapes(build_optimizer("sgd(momentum=0.9)", [weight], lr=0.1), [weight])[weight]
        {'momentum_buffer': torch.Size([2])}
    """
    before = [weight.clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    torch._foreach_copy_(list(weights), before)
    return {weight: shapes(state) for weight, state in optimizer.state.items()}


def shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    """The names of an optimizer's state of a weight, with the shapes of what are tensors.

    Example:
        >>> shapes({"step": torch.tensor(1.0)})
        {'step': torch.Size([])}
    """
    return {name: value.shape if isinstance(value, Tensor) else None for name, value in state.items()}


def check_optimizer(made: object, lr: float) -> None:
    """Refuse an unknown optimizer, or options with which it takes no step.

    Raises:
        InputError: If it is neither a known name with its options nor a function.

    Example:
        >>> check_optimizer("adamm", lr=1e-3)
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: unknown optimizer 'adamm': did you mean 'adam' or ...
    """
    if isinstance(made, str):
        weights = [nn.Parameter(torch.zeros(2, 2))]
        optimizer = build_optimizer(made, weights, lr)
        with errors_of("optimizer", made):
            state_shapes(optimizer, weights)
    elif not callable(made):
        raise InputError(
            f"optimizer is {shown(made)}: expected the name of one of torch.optim, with options such as "
            "adamw(weight_decay=0.01), or a function that takes the weights and lr, such as torch.optim.AdamW"
        )


def _resolve(name: str) -> type[Optimizer]:
    """The class of a name, in any case, hyphens or not."""
    key = name.lower().replace("-", "")
    _refuse_unfit(key)
    if key not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[key]


def _refuse_unfit(name: str) -> None:
    if reason := UNFIT.get(name.lower()):
        raise InputError(f"optimizer {name} cannot be used, as {reason}: take another, such as adam")


def _implementation(kind: type[Optimizer], weights: Sequence[Tensor]) -> dict[str, bool]:
    """Options of a class for the fastest implementation, which on a GPU can be recorded as a graph."""
    offered = inspect.signature(kind).parameters
    known = IMPLEMENTATIONS if kind is not torch.optim.SGD else ("foreach",)  # its fused one starts all momenta at once
    fastest = next(({each: True} for each in known if each in offered), {})
    on_device = bool(weights) and weights[0].is_cuda
    return fastest | ({"capturable": on_device} if "capturable" in offered else {})
