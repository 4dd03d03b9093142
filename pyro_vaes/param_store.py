"""Pyro's parameter store: registration of modules under unique names, and its isolation."""

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
    """Tell Pyro of a module's parameters, under a name that no other instance has.

    Stock ``SVI`` trains what is announced here. Two instances never share an entry of the parameter store,
    not even copies of each other.
    """
    if not getattr(_local, "without_registration", False):
        pyro.module(_names.setdefault(module, f"{type(module).__name__}-{next(_counter)}"), module)


@contextlib.contextmanager
def without_registration() -> Iterator[None]:
    """Within it nothing is announced, so that Pyro's parameter store stays as it is."""
    before = getattr(_local, "without_registration", False)
    _local.without_registration = True
    try:
        yield
    finally:
        _local.without_registration = before


@contextlib.contextmanager
def restored_param_store() -> Iterator[None]:
    """Within it models and guides read Pyro's parameter store; what they write there is forgotten at the end."""
    store = pyro.get_param_store()
    with without_registration(), store.scope(store.get_state()):
        yield


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Within it Pyro validates nothing, and its parameter store is read but not changed."""
    with restored_param_store(), pyro.validation_enabled(False):
        yield
