"""The inputs of each datum beside x, such as its label y, and views of models and guides that are bound to them.

A model and a guide that take such inputs name them in their signatures: ``model(x, y)`` where y is required,
``model(x, y=None)`` where it is not. A view of one that is bound to a batch's y is called with x alone, so that losses
and estimates need not know of y; they take views where they take models and guides. A view shares all weights with
the module that it is of. Modules of the library find the inputs in their attribute ``given``.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from pyro_vaes.errors import InputError

NAMES = ("y",)  # of the inputs beside x, in the order in which models take them

Owner = TypeVar("Owner")
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


def accepted(*owners: Callable[..., Any], optional: bool = True) -> tuple[str, ...]:
    """Names of the inputs beside x that a model and its guide both take.

    Args:
        owners: the model and, if there is one, the guide.
        optional: whether those count that the model can do without.

    Raises:
        InputError: If the model requires an input that the guide does not take.

    Example:
        >>> accepted(lambda x, y=None: ..., lambda x, y=None: ...), accepted(vae, guide)
        (('y',), ())
    """
    model, *guides = ({**inspect.signature(_called(owner)).parameters} for owner in owners)
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
    """A view of a model or guide that is bound to these inputs, and so is the model that a guide holds as ``vae``.

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
    view = copy.copy(owner)
    if "unbound" not in vars(owner):
        view.__dict__["unbound"] = owner
        for name in ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
            view.__dict__[name] = OrderedDict(vars(owner)[name])
        view.register_forward_pre_hook(_give, with_kwargs=True)
    view.__dict__["given"] = given
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


def _give(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**module.given, **kwargs}


def _bound_function(function: Any, given: Given) -> Any:
    bound: Any = partial(function.func if _is_bound(function) else function, **given)
    bound.given = given
    return bound


def _is_bound(owner: object) -> bool:
    return "unbound" in vars(owner) if isinstance(owner, nn.Module) else hasattr(owner, "given")


def _called(owner: Any) -> Callable[..., Any]:
    return unbound(owner).forward if isinstance(owner, nn.Module) else owner


def _kind(owner: Any) -> str:
    return type(owner).__name__ if isinstance(owner, nn.Module) else getattr(owner, "__name__", type(owner).__name__)
