"""A system, a recipe that builds it, and the origin that the built parts remember."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses import Loss
from pyro_vaes.networks import weight_normalize
from pyro_vaes.settings import Settings, check_names

Model_co = TypeVar("Model_co", bound=nn.Module, covariant=True)
Guide_co = TypeVar("Guide_co", bound=nn.Module, covariant=True)


class System(NamedTuple, Generic[Model_co, Guide_co]):
    """A model, its guide and the loss that trains them."""

    model: Model_co
    guide: Guide_co
    loss: Loss


class Origin(NamedTuple):
    """The recipe and settings of a pair; ``pyro_vaes.save`` records them, so that ``load`` can build the pair again.

    Attributes:
        recipe: the recipe's name.
        event_shape: shape of one datum.
        settings: its settings.
    """

    recipe: str
    event_shape: tuple[int, ...]
    settings: Settings


@dataclass(frozen=True)
class Recipe(Generic[Model_co, Guide_co]):
    """A published system: its name on the command line, how it is built, its paper, and its settings.

    Calling it with the shape of one datum builds the system; model and guide then have their :class:`Origin` as the
    attribute ``origin``, which is no weight.

    Attributes:
        name: name on the command line.
        build: a function of the shape of one datum and settings.
        paper: the paper's short name, what is special, title, authors and year.
        small: settings for 2 cores.
        published: settings as published, by data set; the first data set's serve others too. Those of a data set under
            another likelihood have its name after that of the data set, as in ``"mnist bernoulli"``.

    Example:
        >>> from pyro_vaes.recipes import vae
        >>> system = vae((1, 8, 8), latent_dim=2)
        >>> system.model.origin.recipe, system.guide.origin.settings.latent_dim
        ('vae', 2)
    """

    name: str
    build: Callable[[Sequence[int], Settings], System[Model_co, Guide_co]]
    paper: str
    small: Settings = field(default_factory=Settings)
    published: Mapping[str, Settings] = field(default_factory=dict)

    def __call__(
        self, event_shape: Sequence[int], settings: Settings | None = None, **changes: object
    ) -> System[Model_co, Guide_co]:
        """Build the system.

        Args:
            event_shape: shape of one datum.
            settings: the settings; the small ones by default.
            **changes: settings that differ from these.

        Raises:
            InputError: If a setting does not exist or cannot be used.
        """
        chosen = self.small if settings is None else settings
        check_names(changes)
        chosen = dataclasses.replace(chosen, **changes)  # type: ignore[arg-type]
        system = self.build(event_shape, chosen)
        if chosen.weight_norm:
            weight_normalize(system.model, system.guide)
        for module in (system.model, system.guide):
            module.__dict__["origin"] = Origin(self.name, tuple(map(int, event_shape)), chosen)
        return system

    def settings(self, published: bool = False, data: str = "", likelihood: str = "") -> Settings:
        """The small settings, or the published ones of a data set, of a likelihood if there are such.

        Raises:
            InputError: If nothing is published.

        Example:
            >>> from pyro_vaes.recipes import vae
            >>> vae.settings(published=True, data="mnist", likelihood="bernoulli").center
            False
        """
        if not published:
            return self.small
        if not self.published:
            raise InputError(f"recipe {self.name!r} has no published settings: leave --published out")
        name = Path(data).stem if Path(data).stem in self.published else next(iter(self.published))
        return self.published.get(f"{name} {likelihood.partition('(')[0].strip()}", self.published[name])
