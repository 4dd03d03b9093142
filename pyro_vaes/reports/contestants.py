"""The guides of a comparison: names, classes, or pairs of the user's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.recipes import System, build_guide, build_seeded, build_vae, vae
from pyro_vaes.recipes.build import build_loss, seeded_build
from pyro_vaes.recipes.spec import kebab
from pyro_vaes.settings import Settings
from pyro_vaes.vae import VAE, Guide

#: A guide to compare: its name with options, a class or function of model and encoder, or a pair of model and guide.
Contestant = str | Callable[[VAE, nn.Module], Guide] | tuple[nn.Module, nn.Module]


@dataclass(frozen=True)
class Built:
    """One guide of a comparison.

    Attributes:
        build: the system of a seed, with initial weights.
        config: what the ``config.yaml`` of its runs says of it.
    """

    build: Callable[[int], System[Any, Any]]
    config: Mapping[str, Any]


def contestants(
    guides: Sequence[Contestant] | Mapping[str, Contestant], event_shape: Sequence[int], settings: Settings
) -> dict[str, Built]:
    """The guides by name.

    Raises:
        InputError: If names repeat, or a pair has no name.
    """
    named = guides.items() if isinstance(guides, Mapping) else [(_name(each), each) for each in guides]
    made: dict[str, Built] = {}
    for name, each in named:
        if name in made:
            raise InputError(f"the guide {name} stands twice: none may repeat, or give a mapping with names")
        made[name] = _built(each, event_shape, settings)
    return made


def _name(guide: Contestant) -> str:
    if isinstance(guide, str):
        return guide
    if isinstance(guide, type):
        return kebab(guide.__name__)
    raise InputError("a pair, or a function that makes a guide, has no name: give a mapping, {name: (model, guide)}")


def _built(guide: Contestant, event_shape: Sequence[int], settings: Settings) -> Built:
    if isinstance(guide, str):
        chosen = replace(settings, guide=guide)
        return Built(partial(build_seeded, vae, event_shape, chosen), {"recipe": "vae", "guide": guide})
    if isinstance(guide, tuple):
        return Built(lambda seed: _copied(guide, settings), {})
    spec = f"{guide.__module__}:{guide.__qualname__}"
    config = {"recipe": "vae", "guide": spec} if isinstance(guide, type) else {}
    return Built(lambda seed: seeded_build(lambda: _of_class(guide, event_shape, settings), seed), config)


def _copied(pair: tuple[nn.Module, nn.Module], settings: Settings) -> System[Any, Any]:
    model, guide = copy.deepcopy(pair)
    return System(model, guide, build_loss(guide, settings))


def _of_class(
    guide: Callable[[VAE, nn.Module], Guide], event_shape: Sequence[int], settings: Settings
) -> System[VAE, Guide]:
    model = build_vae(event_shape, settings)
    made = build_guide(guide, model, event_shape, settings)
    return System(model, made, build_loss(made, settings))
