"""Training: the loop, its gradient steps, and callbacks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_vaes.training.callbacks import Callback
    from pyro_vaes.training.stages import fit_recipe
    from pyro_vaes.training.time_limit import TimeLimit

__all__ = ["Callback", "TimeLimit", "fit_recipe"]

_HOMES = {"Callback": "callbacks", "TimeLimit": "time_limit", "fit_recipe": "stages"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")  # with torch, which others here do without
    return getattr(module, name)
