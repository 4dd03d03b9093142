"""A system, its origin, and the decorator that records it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from torch import nn

from pyro_vaes.losses import Loss
from pyro_vaes.recipes.settings import Settings
from pyro_vaes.recipes.spec import kebab

Model_co = TypeVar("Model_co", bound=nn.Module, covariant=True)


Guide_co = TypeVar("Guide_co", bound=nn.Module, covariant=True)


Arguments = ParamSpec("Arguments")


class System(NamedTuple, Generic[Model_co, Guide_co]):
    """A model, its guide and the loss that trains them."""

    model: Model_co
    guide: Guide_co
    loss: Loss


Built = TypeVar("Built", bound=System[Any, Any])


class Origin(NamedTuple):
    """What a recipe built a pair from; ``pyro_vaes.save`` writes it down, so that ``load`` can build the pair again.

    Attributes:
        recipe: the recipe's name on the command line.
        event_shape: shape of one datum.
        settings: its settings.
    """

    recipe: str
    event_shape: tuple[int, ...]
    settings: Settings


def records_origin(recipe: Callable[Arguments, Built]) -> Callable[Arguments, Built]:
    """The recipe, whose model and guide keep their :class:`Origin` as the attribute ``origin``, which is no weight.

    Example:
        >>> from pyro_vaes.recipes import vae
        >>> system = vae((1, 8, 8), Settings(latent_dim=2))
        >>> system.model.origin.recipe, system.guide.origin.settings.latent_dim
        ('vae', 2)
    """
    default = inspect.signature(recipe).parameters["settings"].default

    @functools.wraps(recipe)
    def build_recorded(event_shape: Sequence[int], settings: Settings = default) -> Any:
        system = cast(Any, recipe)(event_shape, settings)
        for module in (system.model, system.guide):
            module.__dict__["origin"] = Origin(kebab(recipe.__name__), tuple(map(int, event_shape)), settings)
        return system

    return cast(Callable[Arguments, Built], build_recorded)
