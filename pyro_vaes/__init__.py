"""Variational autoencoders for Pyro: models, guides and losses whose parts can be swapped.

Importing this package loads nothing heavy: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyro_vaes.version import __version__ as __version__

if TYPE_CHECKING:
    from pyro_vaes import (
        data,
        evaluate,
        guides,
        likelihoods,
        losses,
        models,
        networks,
        plots,
        priors,
        recipes,
        testing,
        training,
    )
    from pyro_vaes.errors import InputError
    from pyro_vaes.missing import missing_values
    from pyro_vaes.models.conditional import ConditionalVAE
    from pyro_vaes.models.sequential_guide import SequentialGuide
    from pyro_vaes.reports.compare import compare
    from pyro_vaes.reports.diagnose import diagnose
    from pyro_vaes.reports.traverse import traverse
    from pyro_vaes.runs.export import export
    from pyro_vaes.runs.load_run import load_run
    from pyro_vaes.runs.save import load, save
    from pyro_vaes.training.fit import fit
    from pyro_vaes.training.run import Run
    from pyro_vaes.vae import VAE, Guide, LatentVariableModel

_HOMES = {
    "VAE": "vae",
    "ConditionalVAE": "models.conditional",
    "Guide": "vae",
    "fit": "training.fit",
    "Run": "training.run",
    "load_run": "runs.load_run",
    "save": "runs.save",
    "load": "runs.save",
    "InputError": "errors",
    "missing_values": "missing",
    "compare": "reports.compare",
    "diagnose": "reports.diagnose",
    "traverse": "reports.traverse",
    "export": "runs.export",
    "LatentVariableModel": "vae",
    "SequentialGuide": "models.sequential_guide",
}

__all__ = [
    "VAE",
    "ConditionalVAE",
    "Guide",
    "InputError",
    "LatentVariableModel",
    "Run",
    "SequentialGuide",
    "compare",
    "data",
    "diagnose",
    "evaluate",
    "export",
    "fit",
    "guides",
    "likelihoods",
    "load",
    "load_run",
    "losses",
    "missing_values",
    "models",
    "networks",
    "plots",
    "priors",
    "recipes",
    "save",
    "testing",
    "training",
    "traverse",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    value = globals()[name] = getattr(module, name) if name in _HOMES else module
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
