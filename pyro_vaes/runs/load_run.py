"""A trained system, from its run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from pyro_vaes.data import Data
from pyro_vaes.data.check import check_data
from pyro_vaes.errors import InputError, unknown
from pyro_vaes.losses import default_loss
from pyro_vaes.recipes import RECIPES, Recipe, System, build_seeded, load_data
from pyro_vaes.recipes.spec import is_own
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.settings import PARTS, PARTS_OF_MODEL, Settings, typed
from pyro_vaes.vae import Guide
from pyro_vaes.validation import choose_device


class LoadedRun(NamedTuple):
    """The content of a run folder.

    Attributes:
        data: the data that the system was trained on; None if it was built by hand and no data were given.
        system: model, guide and loss, with the weights of the best validation ELBO, in evaluation mode.
        history: ``Run.history`` of the training.
        note: a remark for readers of its figures, such as that training was interrupted.
    """

    data: Any
    system: System[Any, Any]
    history: list[dict[str, float]]
    note: str


def load_run(
    run: str | os.PathLike[str],
    model: nn.Module | None = None,
    guide: nn.Module | None = None,
    data: Data | None = None,
    *,
    device: str = "auto",
    parts: Mapping[str, str] | None = None,
) -> LoadedRun:
    """The data and the trained system of a run folder.

    The folder may be someone else's: nothing in it is executed, no module that its ``config.yaml`` names is imported,
    and nothing is written, except that data which are known by name are downloaded to the cache. If its
    ``config.yaml`` names a data root, they have to be there.

    Args:
        run: the run folder.
        model: a model as it was trained, if it was built by hand; its weights are replaced.
        guide: its guide.
        data: its data; by default those that the folder names, if a recipe built the system.
        device: as in ``fit``.
        parts: ``module:Class`` of parts of one's own by setting, ``{"guide": "my_module:MyGuide"}``, where the folder
            names such.

    Raises:
        InputError: If the folder holds no run, one of other weights, or one of parts that have to be given.
    """
    folder = RunFolder(run)
    if (model is None) != (guide is None):
        raise InputError("one of model and guide is missing: give both to load their weights, or neither")
    if data is not None:
        check_data(data)
    config = folder.read_config()
    if model is None or guide is None:
        recipe, settings = _recipe(folder, config, parts or {})
        state = folder.read_checkpoint()
        data = load_data(settings, download=settings.data_root is None)
        system = build_seeded(recipe, data.event_shape, settings, settings.seed)
    else:
        state, system = folder.read_checkpoint(), System(model, guide, default_loss(guide))
    for name in ("model", "guide"):
        module = getattr(system, name)
        load_weights(module, state, name)
        module.to(choose_device(device)).eval()
    return LoadedRun(data, system, state["history"], _note(state, typed(config, "epochs", int) or 0))


def own_parts(settings: Settings) -> dict[str, str]:
    """The parts of a model that settings name by ``module:Class``, as :func:`load_run` takes them.

    Example:
        >>> own_parts(Settings(likelihood="my_module:MyLikelihood"))
        {'likelihood': 'my_module:MyLikelihood'}
    """
    return {part: text for part in PARTS_OF_MODEL if is_own(text := getattr(settings, part))}


def load_start(run: str | os.PathLike[str], settings: Settings) -> Guide:
    """The trained mean-field guide of a run folder, on its model, from which another guide can start.

    Args:
        run: the run folder.
        settings: those of the new training, which name again what is ``module:Class`` in the folder.

    Raises:
        InputError: As for :func:`load_run`, or if the run is that of another guide.
    """
    guide: Guide = load_run(run, device="cpu", parts=own_parts(settings)).system.guide
    if not guide.is_mean_field:
        raise InputError(f"{run} is a run of the guide {type(guide).__name__}: start from one of mean-field")
    return guide


def _recipe(
    folder: RunFolder, config: Mapping[str, Any], parts: Mapping[str, str]
) -> tuple[Recipe[Any, Any], Settings]:
    """The recipe and the settings that a folder names."""
    name = typed(config, "recipe", str)
    if name is None:
        raise InputError(
            f"{folder.path}/config.yaml lacks 'recipe', so that the system was built by hand: build it again and give "
            "it, load_run(path, model, guide, data)"
        )
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    settings = Settings.from_config(config)
    for part in PARTS:
        text = getattr(settings, part)
        if text is not None and is_own(text) and part not in parts:
            raise InputError(
                f"{folder.path}/config.yaml names {text!r}, and a run folder never has a module imported: name it "
                f"again, --{part} {text!r}, or give the pair, load_run(path, model, guide)"
            )
    return RECIPES[name], settings.updated(parts)


def _note(state: dict[str, Any], epochs: int) -> str:
    """The remark on a training that did not reach its last epoch, unless it was stopped, as by its patience."""
    done = len(state["history"])
    if done >= epochs or state.get("stopped"):
        return ""
    return f"training was interrupted after epoch {done} of {epochs}; these are the best weights until then"
