"""Registration of modules in Pyro's parameter store, protection of the store, and parameters outside modules."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.given import unbound

Weights = dict[str, Tensor]


_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


_counters: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


_first_weights: dict[str, weakref.ref[Tensor]] = {}  # the first weight that this process registered, by name


_local = threading.local()


def register_params(module: nn.Module) -> None:
    """Register a module's parameters with Pyro, under a name unique to the instance: its class and a number.

    Stock ``SVI`` trains the parameters registered here: those with ``requires_grad``, and so none of a frozen model, of
    which ``pyro.module`` would warn. Two instances never share an entry of the parameter store, not even copies of each
    other. Values that ``pyro.get_param_store().load`` has read go into the module, and are trained further, where it is
    clear to which module they belong.

    Raises:
        InputError: If the store holds loaded values of several modules of this class, of other shapes, or without the
            running statistics that the module has.
    """
    if getattr(_local, "without_registration", False):
        return
    module = unbound(module)
    if module not in _names:
        kind = type(module).__name__
        _names[module] = f"{kind}-{next(_counters[kind])}"
    name, store = _names[module], pyro.get_param_store()
    first = next((each for each in module.named_parameters() if each[1].requires_grad), None)
    if first is not None and ((full := f"{name}$$${first[0]}") not in store or store[full] is not first[1]):
        _take_loaded(module, name)  # at the first call, or after the store was cleared or loaded
        _first_weights[name] = weakref.ref(first[1])
    for key, value in module.named_parameters():
        if value.requires_grad:
            pyro.param(f"{name}$$${key}", value)


def adopt_loaded(*owners: object) -> None:
    """Register models and guides for which Pyro's parameter store holds loaded values.

    Raises:
        InputError: As :func:`register_params`.
    """
    for owner in owners:
        if isinstance(owner, nn.Module) and _loaded(type(owner).__name__):
            register_params(owner)


def _loaded(kind: str) -> dict[str, Weights]:
    """Entries of the store under names of this class that no module of this process registered, by name."""
    found: dict[str, Weights] = {}
    for full, value in pyro.get_param_store().named_parameters():
        name, _, key = full.partition("$$$")
        if re.fullmatch(rf"{kind}-\d+", name):
            found.setdefault(name, {})[key] = value
    ours = {name: weight() for name, weight in _first_weights.items()}
    return {
        name: values for name, values in found.items() if not any(value is ours.get(name) for value in values.values())
    }


@torch.no_grad()
def _take_loaded(module: nn.Module, name: str) -> None:
    """Copy loaded values into the module, and remove the entries that its own weights are to replace."""
    store = pyro.get_param_store()
    loaded = _loaded(type(module).__name__)
    if loaded:
        weights = {key: value for key, value in module.named_parameters() if value.requires_grad}
        values = loaded.get(name, {})
        shapes = [{key: value.shape for key, value in each.items()} for each in (values, weights)]
        statistics = any(getattr(part, "track_running_stats", False) for part in module.modules())
        if len(loaded) > 1 or shapes[0] != shapes[1] or statistics:
            raise InputError(
                f"Pyro's parameter store holds loaded values of {', '.join(sorted(loaded))}, which may not be those of "
                f"this {type(module).__name__}: a store knows neither instances nor buffers. Save with "
                "pv.save(path, model, guide) and load with pv.load; pyro.clear_param_store() forgets the values"
            )
        for key, value in values.items():
            weights[key].copy_(value)
    for full in [full for full in store if full.startswith(f"{name}$$$")]:
        del store[full]


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
