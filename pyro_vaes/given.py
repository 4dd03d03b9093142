"""The inputs of each datum beside x, such as its label y, and views of models and guides that are bound to them.

A model and a guide that take such inputs name them in their signatures: ``model(x, y)`` where y is required,
``model(x, y=None)`` where it is not. A view of one that is bound to a batch's y is called with x alone, so that losses
and estimates need not know of y; they take views where they take models and guides. A view shares all weights with
the module that it is of. Modules of the library find the inputs in their attribute ``given``.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError

NAMES = ("y",)  # of the inputs beside x, in the order in which models take them

Owner = TypeVar("Owner")
Module = TypeVar("Module", bound=nn.Module)
Rows = Tensor | slice


class Given(dict[str, Tensor]):
    """Inputs of each of B observations beside x, by name.

    Shapes:
        ``(B, ...)`` each.

    Example:
        >>> Given(y=torch.tensor([4, 5, 6])).take(slice(2))
        {'y': tensor([4, 5])}
    """

    def take(self, rows: Rows) -> Given:
        """Those of some observations."""
        return Given({name: value[rows] for name, value in self.items()})

    def to(self, like: Tensor) -> Given:
        """The inputs on a tensor's device; floating-point ones have its dtype too."""
        return Given(
            {name: value.to(like if value.is_floating_point() else like.device) for name, value in self.items()}
        )


class TakesGiven(nn.Module):
    """Base class of models and guides, with their hooks for inputs beside x; a model that takes some overrides them.

    Attributes:
        given: the inputs that a view is bound to; none of what is no view.
    """

    given: Given = Given()

    def check_given(self, given: Given) -> None:
        """Refuse inputs whose shape or values are none of this model's."""

    def example_given(self) -> Given:
        """Inputs of one row, with which networks are tried."""
        return Given()

    def adapt_encoder(self, encoder: nn.Module) -> nn.Module:
        """An encoder in the form that guides of this model take it."""
        return encoder


def accepted(*owners: Callable[..., Any], optional: bool = True) -> tuple[str, ...]:
    """Names of the inputs beside x that a model and its guide both take.

    Args:
        owners: the model and, if there is one, the guide; or a guide alone that holds its model as ``vae``.
        optional: whether those count that the model can do without.

    Raises:
        InputError: If the model requires an input that the guide does not take.

    Example:
        >>> accepted(lambda x, y=None: ..., lambda x, y=None: ...), accepted(vae, guide)
        (('y',), ())
    """
    held = getattr(owners[0], "__dict__", {}).get("vae")
    owners = (held, *owners) if callable(held) else owners
    model, *guides = map(_signature, owners)
    required = [name for name in NAMES if name in model and model[name].default is inspect.Parameter.empty]
    for owner, guide in zip(owners[1:], guides, strict=True):
        if missing := [name for name in required if name not in guide]:
            raise InputError(
                f"the model {_kind(owners[0])} requires {missing[0]}, which the guide {_kind(owner)} does not take: "
                f"name it in the guide's signature too, as in forward(self, x, {missing[0]})"
            )
    wanted = model if optional else required
    return tuple(name for name in NAMES if name in wanted and all(name in guide for guide in guides))


def bind(owner: Owner, given: Given) -> Owner:
    """A view of a model or guide that is bound to these inputs.

    So is the model that a guide holds as ``vae``, and so are the parts of the library's models and guides that name an
    input in their signatures, such as a decoder ``forward(z, y)``.

    Args:
        owner: a module, another callable, or None, which remains None.
        given: the inputs; without any, the owner itself is returned.

    Example:
        >>> class Labeled(nn.Module):
        ...     def forward(self, x, y):
        ...         return x + y
        >>> bind(Labeled(), Given(y=torch.ones(2)))(torch.zeros(2))
        tensor([1., 1.])
    """
    if owner is None or not given:
        return owner
    if not isinstance(owner, nn.Module):
        return _bound_function(owner, given)
    view = _shallow_copy(owner)
    if not _is_bound(owner):
        view.__dict__["unbound"] = owner
        for name in ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
            view.__dict__[name] = OrderedDict(vars(owner)[name])
        view.register_forward_pre_hook(_give, with_kwargs=True)
    view.__dict__["given"] = given
    if isinstance(owner, TakesGiven):
        view.__dict__["_modules"] = _bound_parts(unbound(owner), given)
    if "vae" in vars(view):
        view.__dict__["vae"] = bind(view.vae, given)
    return view


def given_of(owner: object) -> Given:
    """The inputs that a view is bound to; none of anything else."""
    return owner.given if _is_bound(owner) else Given()  # type: ignore[attr-defined]


def unbound(module: nn.Module) -> nn.Module:
    """The module that a view is of; of any other module itself.

    Example:
        >>> unbound(bind(vae, Given(y=torch.zeros(4)))) is vae
        True
    """
    return vars(module).get("unbound", module)


def take(owner: Owner, rows: Rows) -> Owner:
    """The view that is bound to the inputs of some observations alone; anything else as it is.

    Example:
        >>> given_of(take(bind(vae, Given(y=torch.arange(4))), slice(2)))
        {'y': tensor([0, 1])}
    """
    return bind(owner, given_of(owner).take(rows))


def split(size: int, x: Tensor, *owners: Owner) -> Iterator[tuple[Any, ...]]:
    """Batches of at most ``size`` observations, each with the owners bound to its inputs.

    Example:
        >>> [(len(batch), view is vae) for batch, view in split(3, x, vae)]
        [(3, True), (1, True)]
    """
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield x[rows], *(take(owner, rows) for owner in owners)


def names_input(module: nn.Module) -> bool:
    """Whether a module names one of the inputs beside x in its signature.

    Example:
        >>> from pyro_vaes.networks import ConditionalDecoder
        >>> names_input(ConditionalDecoder(nn.Linear(5, 2), 3)), names_input(nn.Linear(5, 2))
        (True, False)
    """
    return not _signature(module).keys().isdisjoint(NAMES)


def in_turn(owner: Owner, size: int) -> Owner:
    """The view that is bound to ``size`` inputs, which are those that it is bound to, in turn; else as it is.

    Example:
        >>> given_of(in_turn(bind(vae, Given(y=torch.arange(2))), 5))
        {'y': tensor([0, 1, 0, 1, 0])}
    """
    value = next(iter(given_of(owner).values()), None)
    if value is None or len(value) == size:
        return owner
    return take(owner, torch.arange(size, device=value.device) % len(value))


def _give(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Add the inputs that a call lacks."""
    lacking = list(_signature(module))[len(args) :]
    return args, {**{name: value for name, value in module.given.items() if name in lacking}, **kwargs}


def _bound_parts(module: nn.Module, given: Given) -> dict[str, nn.Module | None]:
    return {name: None if part is None else _bound_part(part, given) for name, part in vars(module)["_modules"].items()}


def _bound_part(part: nn.Module, given: Given) -> nn.Module:
    if not given.keys().isdisjoint(_signature(part)):
        return bind(part, given)
    parts = _bound_parts(part, given)
    if all(one is other for one, other in zip(parts.values(), part.children(), strict=False)):
        return part
    view = _shallow_copy(part)
    view.__dict__["_modules"] = parts
    return view


def _shallow_copy(module: Module) -> Module:
    """A copy with the same parameters, buffers and parts; ``copy.copy`` refuses parametrized modules."""
    copied = type(module).__new__(type(module))
    vars(copied).update(vars(module))
    return copied


def _bound_function(function: Any, given: Given) -> Any:
    bound: Any = partial(function.func if _is_bound(function) else function, **given)
    bound.given = given
    return bound


def _is_bound(owner: object) -> bool:
    return "unbound" in vars(owner) if isinstance(owner, nn.Module) else hasattr(owner, "given")


def _signature(owner: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a call, by name."""
    return _of_method(type(owner).forward) if isinstance(owner, nn.Module) else inspect.signature(owner).parameters


@functools.cache
def _of_method(method: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return dict(list(inspect.signature(method).parameters.items())[1:])


def _kind(owner: Any) -> str:
    return type(owner).__name__ if isinstance(owner, nn.Module) else getattr(owner, "__name__", type(owner).__name__)
