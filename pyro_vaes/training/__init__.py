"""Training: the loop, its gradient steps, and callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_vaes.training.callbacks import Callback

__all__ = ["Callback"]


def __getattr__(name: str) -> Any:
    if name != "Callback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyro_vaes.training.callbacks import Callback  # with torch, which modules of this package do without

    return Callback
