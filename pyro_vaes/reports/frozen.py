"""The frozen model of a comparison, under which the guides alone are trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.priors import Prior
from pyro_vaes.recipes.spec import is_own
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.runs.load_run import load_run, own_parts
from pyro_vaes.settings import PARTS_OF_MODEL, Settings
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import choose_device

OF_DATA = ("data", "data_root", "binarize", "channels", "train_size")
OF_MODEL = (*PARTS_OF_MODEL, "latent_dim", "condition_dim")  # settings that are those of the trained model
OF_NETWORKS = ("network", "hidden")
EPOCHS, PATIENCE = 200, 10  # of the training of a guide: at most so many, and so many without a rise


@dataclass(frozen=True)
class FrozenModel:
    """A trained model that a comparison does not move.

    Attributes:
        model: the model.
        path: its run folder; None if it was given as an object.
        recipe: the recipe that built it; None if it was given as an object.
    """

    model: LatentVariableModel
    path: str | None = None
    recipe: str | None = None

    @property
    def name(self) -> str:
        """Its name in a report."""
        return self.path or type(self.model).__name__


def frozen_settings(
    model: str | os.PathLike[str] | LatentVariableModel, changes: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of guides of a frozen model: the data and sizes of its run, and trainings until they converge.

    Args:
        model: the run folder; or a model, whose guides have encoders of the default settings.
        changes: settings that differ from these, as the command line gives them.

    Raises:
        InputError: If the folder holds no run, or a change would be one of the model.

    Example:
        >>> frozen_settings(vae, {"lr": 1e-4}).patience
        10
    """
    if isinstance(model, LatentVariableModel):
        return Settings(epochs=EPOCHS, patience=PATIENCE).updated(changes or {})
    trained = Settings.from_config(RunFolder(model).read_config())
    shared = {name: getattr(trained, name) for name in (*OF_DATA, *OF_MODEL, *OF_NETWORKS)}
    for name in PARTS_OF_MODEL:
        if is_own(shared[name]) and (changes or {}).get(name) != shared[name]:
            raise InputError(
                f"{model}/config.yaml names {shared[name]!r}, and a run folder never has a module imported: name it "
                f"again, --{name} {shared[name]!r}"
            )
    settings = Settings(**shared, epochs=EPOCHS, patience=PATIENCE).updated(changes or {})
    for name in OF_MODEL:
        if getattr(settings, name) != shared[name]:
            raise InputError(
                f"{name} is {getattr(settings, name)}, but the model of {model} is frozen, with {name} {shared[name]}: "
                f"leave --{name.replace('_', '-')} out"
            )
    return settings


def load_frozen(model: str | os.PathLike[str] | LatentVariableModel, data: Data, settings: Settings) -> FrozenModel:
    """The model of a run folder, or a given one, on the device of the settings.

    Raises:
        InputError: If it was trained on other data, or its prior is made of its guide's posteriors.
    """
    if isinstance(model, LatentVariableModel):
        found = FrozenModel(model)
        model.check_event_shape(data.event_shape)
    else:
        loaded = load_run(model, device=settings.device, parts=own_parts(settings))
        if loaded.data.description != data.description:
            raise InputError(
                f"the model of {model} was trained on {loaded.data.description}, but the guides would be on "
                f"{data.description}: give the data of the model"
            )
        recipe = RunFolder(model).read_config()["recipe"]
        found = FrozenModel(loaded.system.model, os.path.abspath(model), recipe)
    for prior in found.model.priors.values():
        if type(prior).bind_posterior is not Prior.bind_posterior:
            raise InputError(
                f"the prior {type(prior).__name__} is made of its guide's posteriors, so that the model would change "
                "with the guide: freeze a model with another prior"
            )
    found.model.to(choose_device(settings.device))
    return found


@contextlib.contextmanager
def frozen(model: LatentVariableModel) -> Iterator[None]:
    """Context manager in which a training moves no weight and no buffer of a model.

    Its weights require no gradient, so that ``fit`` leaves it in evaluation mode, and its likelihood and priors count
    as initialized; on exit all is as it was.

    Example:
        >>> with frozen(vae):
        ...     any(weight.requires_grad for weight in vae.parameters())
        False
        >>> all(weight.requires_grad for weight in vae.parameters())
        True
    """
    required = {weight: weight.requires_grad for weight in model.parameters()}
    parts: list[Any] = [model.likelihood, *model.priors.values()]
    flags: list[Tensor] = [part.initialized for part in parts]
    values = [flag.clone() for flag in flags]
    try:
        for weight in required:
            weight.requires_grad_(False)
        for flag in flags:
            flag.fill_(True)
        yield
    finally:
        for weight, before in required.items():
            weight.requires_grad_(before)
        for flag, value in zip(flags, values, strict=True):
            flag.copy_(value)
