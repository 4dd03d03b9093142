"""A trained pair as one file to share: ``save`` and ``load``."""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vaes.errors import InputError, shown
from pyro_vaes.param_store import adopt_loaded
from pyro_vaes.recipes import RECIPES, build_seeded
from pyro_vaes.recipes.spec import is_own
from pyro_vaes.runs.checkpoint import are_weights, check_weights
from pyro_vaes.runs.pair_file import PairFile
from pyro_vaes.settings import PARTS, Settings
from pyro_vaes.validation import as_path
from pyro_vaes.version import __version__

PLAIN = (bool, int, float, str, tuple)  # types of the attributes that are a part's options
LOCAL = ("data", "data_root", "channels", "device", "step", "precision")  # settings of the machine that trained
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of a pair that is built again


def save(path: str | os.PathLike[str], model: nn.Module, guide: nn.Module) -> None:
    """Write a model and its guide to one file, whichever way they were trained; reading it executes nothing.

    The file is a safetensors file: the weights, named ``model.…`` and ``guide.…``, and as metadata a description as
    YAML text and the versions of pyro_vaes, torch, Pyro and Python. If the pair is as a recipe built it, or
    ``load_run``, the description says all that :func:`load` needs. A pair that was built by hand, or whose parts or
    options were changed since, has to be built again by hand.

    Args:
        path: the file, such as ``digits.safetensors``; one that ``save`` wrote is replaced, no other is.
        model: the model.
        guide: its guide.

    Raises:
        InputError: If the path cannot be written, or model or guide is no module of dense tensors.

    Example:
        >>> import pathlib, tempfile, pyro_vaes as pv
        >>> system = pv.recipes.vae((1, 8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "digits.safetensors"
        ...     pv.save(path, system.model, system.guide)
        ...     model, guide = pv.load(path)
        >>> torch.equal(model.decode(torch.zeros(16)), system.model.eval().decode(torch.zeros(16)))
        True
    """
    file, pair = as_path(path, "path"), {"model": model, "guide": guide}
    for name, module in pair.items():
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} is a {type(module).__name__}: expected a module, whose weights can be saved")
        if not are_weights(module.state_dict()):
            raise InputError(f"the state of {name} holds more than dense tensors: expected parameters and buffers only")
    adopt_loaded(model, guide)
    _check_target(file)
    weights = {name: module.state_dict() for name, module in pair.items()}
    PairFile(weights, {name: type(module).__name__ for name, module in pair.items()}, _built(model, guide)).write(file)


def load(
    path: str | os.PathLike[str], model: nn.Module | None = None, guide: nn.Module | None = None
) -> tuple[Any, Any]:
    """The model and the guide of a file that :func:`save` wrote, on the CPU and in evaluation mode.

    Args:
        path: the file.
        model: a model to load the weights into, if no recipe built it; it keeps its device and dtype.
        guide: its guide.

    Returns:
        Model and guide.

    Raises:
        InputError: If the file is damaged, of another format or none of ``save``, the pair is none that a recipe built
            and was not given, or it has other classes or shapes; then nothing was loaded.
    """
    file = as_path(path, "path")
    content = PairFile.read(file)
    if (model is None) != (guide is None):
        raise InputError("one of model and guide is missing: give both to load their weights, or neither")
    if model is None or guide is None:
        model, guide = _rebuild(file, content)
    pair = {"model": model, "guide": guide}
    for name, module in pair.items():
        whose, here = f"the {name} in {file} is a {content.classes[name]}", type(module).__name__
        if content.classes[name] != here:
            raise InputError(f"{whose}, here it is a {here}: give one of its class")
        check_weights(module, content.weights[name], whose, "one that was built as it was")
    for name, module in pair.items():
        module.load_state_dict(content.weights[name])
        module.eval()
    return model, guide


def _check_target(file: Path) -> None:
    """Refuse to write over anything but a saved pair."""
    if not file.exists():
        return
    if file.is_dir():
        raise InputError(f"{file} is a folder: give the file to write, such as {file / 'pair.safetensors'}")
    try:
        PairFile.read(file)
    except InputError as error:
        raise InputError(f"{file} exists and is no file that save may replace: remove it, or give another") from error


def _built(model: nn.Module, guide: nn.Module) -> dict[str, Any] | None:
    """The recipe of a pair and its settings, if it still is the pair that the recipe builds."""
    origin = getattr(model, "origin", None)
    if origin is None or getattr(guide, "origin", None) != origin:
        return None
    again = build_seeded(RECIPES[origin.recipe], origin.event_shape, origin.settings, seed=0)
    if (_parts(model), _parts(guide)) != (_parts(again.model), _parts(again.guide)):
        return None
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(origin.settings).items()
        if name not in LOCAL
    }
    return {"recipe": origin.recipe, "event_shape": list(origin.event_shape), "settings": settings}


def _parts(module: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Size]]:
    """The structure of a module: classes and options of its parts, shapes of its weights."""
    options = {
        name: (type(part), {key: value for key, value in vars(part).items() if _is_option(key, value)})
        for name, part in module.named_modules()
    }
    return options, {name: value.shape for name, value in module.state_dict().items()}


def _is_option(key: str, value: object) -> bool:
    return isinstance(value, PLAIN) and not key.startswith("_") and key not in ("training", "origin")


def _rebuild(file: Path, content: PairFile) -> tuple[nn.Module, nn.Module]:
    """The pair that a file describes, of its dtype, with other weights."""
    if content.built is None:
        both = " and a ".join(content.classes[name] for name in ("model", "guide"))
        raise InputError(
            f"{file} holds a {both} that are not as a recipe builds them: build them as they were and give them, "
            "load(path, model, guide)"
        )
    named = content.built.get("settings") or {}
    own = [text for name in PARTS if isinstance(text := named.get(name), str) and is_own(text)]
    if own:
        raise InputError(
            f"{file} names {own[0]!r}, and a file never has a module imported: build the pair and give it, "
            "load(path, model, guide)"
        )
    try:
        given: dict[str, Any] = content.built["settings"]
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        recipe, event_shape = RECIPES[content.built["recipe"]], tuple(content.built["event_shape"])
        system = build_seeded(recipe, event_shape, Settings(**settings), seed=0)
    except Exception as error:  # of whatever a recipe makes of settings that this version does not write
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            f"{file} holds what a recipe of pyro_vaes {shown(content.writer)} built, which {__version__} cannot "
            f"({type(error).__name__}: {reason}): take that version, or give model and guide"
        ) from error
    for name, module in (("model", system.model), ("guide", system.guide)):
        dtypes = [value.dtype for value in content.weights[name].values() if value.dtype in DTYPES]
        module.to(statistics.mode(dtypes or [torch.get_default_dtype()]))
    return system.model, system.guide
