"""Registration of modules in Pyro's parameter store, and protection of the store."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import pyro
from torch import nn

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
