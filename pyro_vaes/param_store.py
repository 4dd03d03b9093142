"""Registration of modules in Pyro's parameter store, protection of the store, and parameters outside modules."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import pyro
from pyro import poutine
from torch import nn

from pyro_vaes.errors import InputError

_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


_counter = itertools.count()


_local = threading.local()


def register_params(module: nn.Module) -> None:
    """Register a module's parameters with Pyro, under a name unique to the instance.

    Stock ``SVI`` trains the parameters registered here. Two instances never share an entry of the parameter store,
    not even copies of each other.
    """
    if not getattr(_local, "without_registration", False):
        pyro.module(_names.setdefault(module, f"{type(module).__name__}-{next(_counter)}"), module)


@contextlib.contextmanager
def without_registration() -> Iterator[None]:
    """Context manager that turns :func:`register_params` off, which leaves Pyro's parameter store unchanged."""
    before = getattr(_local, "without_registration", False)
    _local.without_registration = True
    try:
        yield
    finally:
        _local.without_registration = before


@contextlib.contextmanager
def restored_param_store() -> Iterator[None]:
    """Context manager that restores Pyro's parameter store on exit; models and guides inside read it as usual."""
    store = pyro.get_param_store()
    with without_registration(), store.scope(store.get_state()):
        yield


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Context manager that restores Pyro's parameter store on exit and turns Pyro's validation off."""
    with restored_param_store(), pyro.validation_enabled(False):
        yield


@contextlib.contextmanager
def registered_params_only(*modules: nn.Module) -> Iterator[None]:
    """Context manager that refuses ``pyro.param`` and ``PyroParam`` for what is no ``nn.Parameter`` of the modules.

    What trains or saves modules misses such parameters. Those that ``pyro.module`` or a ``PyroModule`` registers are
    the modules' own.

    Raises:
        InputError: If there is such a parameter; names it, and what to write instead.

    Example:
        >>> with registered_params_only(vae):
        ...     scale = pyro.param("scale", torch.tensor(1.0))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the parameter 'scale' belongs to Pyro's parameter store alone, where it is neither
        trained nor saved with its module: write self.scale = nn.Parameter(...) in the module's __init__, and
        self.scale, with .exp() if it is positive, in place of pyro.param or PyroParam
    """
    own = {id(p) for module in modules for p in module.parameters()}
    with poutine.trace(param_only=True) as traced:
        yield
    for name, site in traced.trace.nodes.items():
        if not any(id(initial) in own for initial in site["args"][1:]):
            attribute = last if (last := name.rpartition(".")[2]).isidentifier() else "value"
            raise InputError(
                f"the parameter {name!r} belongs to Pyro's parameter store alone, where it is neither trained nor "
                f"saved with its module: write self.{attribute} = nn.Parameter(...) in the module's __init__, and "
                f"self.{attribute}, with .exp() if it is positive, in place of pyro.param or PyroParam"
            )
