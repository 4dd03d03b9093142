"""A trained system, from its run folder."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, NamedTuple

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError, unknown
from pyro_vaes.recipes import RECIPES, Settings, System, build_seeded
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.config import Options, typed
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.validation import choose_device


class LoadedRun(NamedTuple):
    """The content of a run folder.

    Attributes:
        data: the data that the system was trained on.
        system: model, guide and loss, with the weights of the best validation ELBO, in evaluation mode.
        history: ``Run.history`` of the training.
        note: a remark for readers of its figures, such as that training was interrupted.
    """

    data: Data
    system: System[Any, Any]
    history: list[dict[str, float]]
    note: str


def load_run(run: str | os.PathLike[str], device: str = "auto") -> LoadedRun:
    """The data and the trained system of a run folder that ``pyro-vaes train`` or ``compare`` wrote.

    The folder may be someone else's: nothing in it is executed, and nothing is written, except that data which
    are known by name are downloaded to the cache. If its ``config.yaml`` names a data root, they have to be there.

    Args:
        run: the run folder.
        device: as in ``fit``.

    Raises:
        InputError: If the folder holds no run, or one of other weights.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    for name in ("recipe", "seed"):
        if config.get(name) is None:
            raise InputError(f"{folder.path}/config.yaml lacks {name!r}: give a run that pyro-vaes wrote")
    options = Options.read(config)
    recipe, seed = typed(config, "recipe", str), typed(config, "seed", int)
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    settings = dataclasses.replace(options.settings(Settings()), guide=typed(config, "guide", str))
    state = folder.read_checkpoint()
    data = options.load(settings, download=options.data_root is None)
    system = build_seeded(RECIPES[recipe], data.event_shape, settings, seed)
    for name in ("model", "guide"):
        module = getattr(system, name)
        load_weights(module, state, name)
        module.to(choose_device(device)).eval()
    return LoadedRun(data, system, state["history"], _note(state, settings.epochs))


def _note(state: dict[str, Any], epochs: int) -> str:
    """The remark on a training that did not reach its last epoch."""
    done = len(state["history"])
    if done >= epochs:
        return ""
    return f"training was interrupted after epoch {done} of {epochs}; these are the best weights until then"
