"""A trained pair as one file to share: ``save`` and ``load``."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyro
import torch
import yaml
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.recipes import RECIPES, Settings, build_seeded
from pyro_vaes.runs.atomic import replacing
from pyro_vaes.runs.checkpoint import are_weights, check_weights, read_whole
from pyro_vaes.validation import as_path

VERSION = version("pyro_vaes")
KIND, FORMAT = "pair of pyro_vaes", 1


PLAIN = (bool, int, float, str, tuple)  # types of the attributes that are a part's options


def save(path: str | os.PathLike[str], model: nn.Module, guide: nn.Module) -> None:
    """Write a model and its guide to one file, whichever way they were trained; reading it executes nothing.

    The file holds the weights, a description as YAML text and the versions of pyro_vaes, torch, Pyro and Python. Of a
    pair as a recipe built it, or ``load_run``, the description says all that :func:`load` needs. A pair that was built
    by hand, or whose parts or options were changed since, has to be built again by hand.

    Args:
        path: the file; one that ``save`` wrote is replaced, no other is.
        model: the model.
        guide: its guide.

    Raises:
        InputError: for a path that cannot be written, or what is no module.

    Example:
        >>> import pathlib, tempfile, pyro_vaes as pv
        >>> system = pv.recipes.vae((1, 8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "digits.pt"
        ...     pv.save(path, system.model, system.guide)
        ...     model, guide = pv.load(path)
        >>> torch.equal(model.decode(torch.zeros(16)), system.model.eval().decode(torch.zeros(16)))
        True
    """
    file, pair = as_path(path, "path"), {"model": model, "guide": guide}
    for name, module in pair.items():
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} is a {type(module).__name__}: expected a module, whose weights can be saved")
    _check_target(file)
    description = {
        "classes": {name: type(module).__name__ for name, module in pair.items()},
        "built": _built(model, guide),
    }
    content = {
        "kind": KIND,
        "format": FORMAT,
        "versions": versions(),
        "description": yaml.safe_dump(description, sort_keys=False),
        **{name: _weights(module) for name, module in pair.items()},
    }
    with replacing(file) as part, part.open("wb") as stream:
        torch.save(content, stream)


def load(
    path: str | os.PathLike[str], model: nn.Module | None = None, guide: nn.Module | None = None
) -> tuple[Any, Any]:
    """The model and the guide of a file that :func:`save` wrote, on the CPU and in evaluation mode.

    Args:
        path: the file.
        model: a model to load the weights into, where no recipe built it; it keeps its device and dtype.
        guide: its guide.

    Returns:
        Model and guide.

    Raises:
        InputError: for a file that is damaged, of another format or none of ``save``, a pair that no recipe built and
            that was not given, or one of other classes or shapes; then nothing was loaded.
    """
    file = as_path(path, "path")
    content = _read(file)
    about = _describe(file, content)
    if (model is None) != (guide is None):
        raise InputError("one of model and guide is missing: give both to load their weights, or neither")
    if model is None or guide is None:
        model, guide = _rebuild(file, content, about)
    pair = {"model": model, "guide": guide}
    for name, module in pair.items():
        saved, here = about["classes"][name], type(module).__name__
        if saved != here:
            raise InputError(f"the {name} in {file} is a {saved}, here it is a {here}: give one of its class")
        check_weights(module, content[name], f"the {name} in {file} is a {saved}", "one that was built as it was")
    for name, module in pair.items():
        module.load_state_dict(content[name])
        module.eval()
    return model, guide


def versions() -> dict[str, str]:
    """What a file was written by."""
    return {
        "pyro_vaes": VERSION,
        "torch": str(torch.__version__),
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }


def _check_target(file: Path) -> None:
    """Refuse to write over anything but a saved pair."""
    if not file.exists():
        return
    if file.is_dir():
        raise InputError(f"{file} is a folder: give the file to write, such as {file / 'pair.pt'}")
    try:
        _read(file)
    except InputError as error:
        raise InputError(f"{file} exists and is no file that save may replace: remove it, or give another") from error


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def _built(model: nn.Module, guide: nn.Module) -> dict[str, Any] | None:
    """What a recipe built the pair from, if it still is the pair that the recipe builds."""
    origin = getattr(model, "origin", None)
    if origin is None or getattr(guide, "origin", None) != origin:
        return None
    again = build_seeded(RECIPES[origin.recipe], origin.event_shape, origin.settings, seed=0)
    if (_parts(model), _parts(guide)) != (_parts(again.model), _parts(again.guide)):
        return None
    settings = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(origin.settings).items()
    }
    return {"recipe": origin.recipe, "event_shape": list(origin.event_shape), "settings": settings}


def _parts(module: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Size]]:
    """What a module is made of but for its weights: classes and options of its parts, shapes of its weights."""
    options = {
        name: (type(part), {key: value for key, value in vars(part).items() if _is_option(key, value)})
        for name, part in module.named_modules()
    }
    return options, {name: value.shape for name, value in module.state_dict().items()}


def _is_option(key: str, value: object) -> bool:
    return isinstance(value, PLAIN) and not key.startswith("_") and key not in ("training", "origin")


def _read(file: Path) -> dict[str, Any]:
    """What :func:`save` wrote, in this format."""
    if file.is_dir():
        raise InputError(f"{file} is a folder: give a file that save wrote; the folder of a run is for load_run")
    try:
        content = read_whole(file)
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: give a file that save wrote") from None
    except InputError as error:
        raise InputError(f"{error}, or no file that save wrote: give a whole copy of one") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise InputError(f"{file} is no file that save wrote: give one; a run's checkpoint is for load_run")
    if content.get("format") != FORMAT:
        raise InputError(
            f"{file} has the format {content.get('format')}, written by pyro_vaes {_writer(content)}, but "
            f"this pyro_vaes {version('pyro_vaes')} reads format {FORMAT}: take that version"
        )
    return content


def _writer(content: Mapping[str, Any]) -> object:
    """The version of pyro_vaes that wrote a file, of whatever format."""
    found = content.get("versions")
    return found.get("pyro_vaes") if isinstance(found, dict) else None


def _describe(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The description in a file that may be anyone's."""
    try:
        about = yaml.safe_load(content["description"])
        whole = isinstance(about["built"], dict | None) and all(
            isinstance(about["classes"][part], str) and are_weights(content[part]) for part in ("model", "guide")
        )
    except (KeyError, TypeError, AttributeError, yaml.YAMLError):
        whole = False
    if not whole:
        raise InputError(f"{file} lacks a part that save writes: give a file that it wrote")
    return about


def _rebuild(file: Path, content: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The pair that a file describes, of its dtype, with other weights."""
    built, classes = about["built"], about["classes"]
    if built is None:
        raise InputError(
            f"{file} holds a {classes['model']} and a {classes['guide']} that are not as a recipe builds them: build "
            "them as they were and give them, load(path, model, guide)"
        )
    try:
        given: dict[str, Any] = built["settings"]
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        recipe, event_shape = RECIPES[built["recipe"]], tuple(built["event_shape"])
        system = build_seeded(recipe, event_shape, Settings(**settings), seed=0)
    except Exception as error:  # of whatever a recipe makes of settings that this version does not write
        raise InputError(
            f"{file} holds what a recipe of pyro_vaes {_writer(content)} built, which {version('pyro_vaes')} cannot "
            f"({type(error).__name__}: {error}): take that version, or give model and guide"
        ) from error
    for name, module in (("model", system.model), ("guide", system.guide)):
        module.to(next(value.dtype for value in content[name].values() if value.is_floating_point()))
    return system.model, system.guide
