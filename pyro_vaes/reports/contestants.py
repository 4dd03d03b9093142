"""The guides of a comparison: names, classes, or pairs of the user's own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.networks import weight_normalize
from pyro_vaes.recipes import System, build_guide, build_seeded, build_vae, vae
from pyro_vaes.recipes.build import build_encoder, build_loss, seeded_build
from pyro_vaes.recipes.spec import kebab
from pyro_vaes.reports.frozen import OF_MODEL, FrozenModel
from pyro_vaes.reports.sweep import Varied, variants
from pyro_vaes.settings import Settings
from pyro_vaes.vae import VAE, Guide

#: A guide to compare: its name with options, a class or function of model and encoder, or a pair of model and guide.
Contestant = str | Callable[[VAE, nn.Module], Guide] | tuple[nn.Module, nn.Module]
Build = Callable[[int], System[Any, Any]]
OF_LOSS = ("loss", "warmup")  # settings of the objective, which a pair is trained with too


@dataclass(frozen=True)
class Built:
    """One guide of a comparison.

    Attributes:
        build: the system of a seed, with initial weights; all guides of a frozen model share it.
        config: what the ``config.yaml`` of its runs says of it.
        settings: the settings that it is trained with.
    """

    build: Build
    config: Mapping[str, Any]
    settings: Settings


def named(guides: Sequence[Contestant] | Mapping[str, Contestant]) -> dict[str, Contestant]:
    """The guides by their names in the report.

    Raises:
        InputError: If names repeat, or a pair has none.

    Example:
        >>> from pyro_vaes.guides import LowRank
        >>> list(named(["laplace(updates=1)", LowRank]))
        ['laplace(updates=1)', 'low-rank']
    """
    if isinstance(guides, Mapping):
        return dict(guides)
    found: dict[str, Contestant] = {}
    for each in guides:
        if (name := _name(each)) in found:
            raise InputError(f"the guide {name} stands twice: none may repeat, or give a mapping with names")
        found[name] = each
    return found


def contestants(
    guides: Mapping[str, Contestant],
    event_shape: Sequence[int],
    settings: Settings,
    frozen: FrozenModel | None = None,
    varied: Varied | None = None,
) -> dict[str, Built]:
    """The guides by name, each with a model of its own or with the frozen one, in every variant of the settings.

    Raises:
        InputError: If a setting cannot vary here, or a pair has a model beside the frozen one.
    """
    varied = varied or {}
    pairs = [name for name, guide in guides.items() if isinstance(guide, tuple)]
    for setting in varied:
        if frozen and setting in OF_MODEL:
            raise InputError(f"{setting} cannot vary, since the model is frozen: leave the model out")
        if pairs and setting not in OF_LOSS and setting not in settings.training:
            raise InputError(f"{setting} cannot vary, since {pairs[0]} is a pair: give the class of its guide")
    made: dict[str, Built] = {}
    for (name, guide), (variant, chosen) in itertools.product(guides.items(), variants(settings, varied).items()):
        if frozen is None:
            build, config = _built(guide, event_shape, chosen)
        else:
            build, config = _built_on(frozen, name, guide, event_shape, chosen)
        values = {setting: chosen.config().get(setting) for setting in varied}
        made[f"{name} {variant}".strip()] = Built(build, {**values, **config}, chosen)
    return made


def _name(guide: Contestant) -> str:
    if isinstance(guide, str):
        return guide
    if isinstance(guide, type):
        return kebab(guide.__name__)
    raise InputError("a pair, or a function that makes a guide, has no name: give a mapping, {name: (model, guide)}")


def _built(guide: Contestant, event_shape: Sequence[int], settings: Settings) -> tuple[Build, dict[str, Any]]:
    if isinstance(guide, str):
        chosen = replace(settings, guide=guide)
        return partial(build_seeded, vae, event_shape, chosen), {"recipe": "vae", "guide": guide}
    if isinstance(guide, tuple):
        return lambda seed: _copied(guide, settings), {}
    config = {"recipe": "vae", "guide": _spec(guide)} if isinstance(guide, type) else {}
    return lambda seed: seeded_build(lambda: _of_class(guide, event_shape, settings), seed), config


def _built_on(
    frozen: FrozenModel, name: str, guide: Contestant, event_shape: Sequence[int], settings: Settings
) -> tuple[Build, dict[str, Any]]:
    if isinstance(guide, tuple):
        raise InputError(
            f"{name} is a pair with a model of its own, but the model of this comparison is frozen: give the class of "
            "the guide, or a function of model and encoder that makes it"
        )
    if not (isinstance(frozen.model, VAE) or callable(guide)):
        raise InputError(
            f"the frozen model is a {type(frozen.model).__name__}, which the guide {name} is not for: give a mapping "
            "of functions of model and encoder that make its guides"
        )
    config: dict[str, Any] = {}
    if frozen.recipe is not None and (isinstance(guide, (str, type))):
        config = {"recipe": frozen.recipe, "guide": guide if isinstance(guide, str) else _spec(guide)}
    return lambda seed: seeded_build(lambda: _of_frozen(frozen.model, guide, event_shape, settings), seed), config


def _spec(guide: Any) -> str:
    return f"{guide.__module__}:{guide.__qualname__}"


def _copied(pair: tuple[nn.Module, nn.Module], settings: Settings) -> System[Any, Any]:
    model, guide = copy.deepcopy(pair)
    return System(model, guide, build_loss(guide, settings))


def _of_class(
    guide: Callable[[VAE, nn.Module], Guide], event_shape: Sequence[int], settings: Settings
) -> System[VAE, Guide]:
    model = build_vae(event_shape, settings)
    if settings.weight_norm:
        weight_normalize(model)
    return _of_frozen(model, guide, event_shape, settings)


def _of_frozen(model: Any, guide: Any, event_shape: Sequence[int], settings: Settings) -> System[Any, Any]:
    if isinstance(model, VAE):
        made = build_guide(guide, model, event_shape, settings)
    else:
        made = guide(model, build_encoder(event_shape, settings))
    if settings.weight_norm:
        weight_normalize(made)
    return System(model, made, build_loss(made, settings))
