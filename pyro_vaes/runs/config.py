"""The flags that commands share, and what they stand for. Importing this loads nothing heavy."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pyro_vaes.errors import InputError, shown

if TYPE_CHECKING:
    from pyro_vaes.data import Data
    from pyro_vaes.recipes import Settings

Switch = Annotated[bool, Parameter(negative="")]


LISTS = ("hidden", "latent_dim")  # settings that are lists of whole numbers


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to train on, what to train, and for how long."""

    data: str = "digits"
    """name of a data set, or an .npz file; `pyro-vaes datasets` lists them."""
    data_root: str | None = None
    """folder of the data in torchvision's layout."""
    binarize: str | None = None
    """dynamic, static or threshold; under the bernoulli likelihood dynamic by default."""
    train_size: int | None = None
    """train on the first so many images only."""
    likelihood: str | None = None
    """gaussian, bernoulli, discretized-logistic, poisson, pixelcnn or pixelcnnpp, with options if any, such as
    gaussian(scale=0.25)."""
    prior: str | None = None
    """standard-normal, gaussian-mixture, vamp-prior or autoregressive-flow, with options if any, such as
    gaussian-mixture(components=5); of a ladder one for all levels, or one a level, comma-separated."""
    loss: str | None = None
    """elbo, iwae, free-bits or another of pyro_vaes.losses, with options if any, such as free-bits(total=4)."""
    network: str | None = None
    """mlp, conv or resnet, with options if any."""
    latent_dim: str | None = None
    """size of the latent; of a hierarchy of each level, the lowest first, such as 2,2,2."""
    hidden: str | None = None
    """sizes of the hidden layers, such as 256,256; channels of convolutions; of a ladder one a level."""
    epochs: int | None = None
    """passes through the training data."""
    batch_size: int | None = None
    """images a gradient step."""
    lr: float | None = None
    """learning rate."""
    optimizer: str | None = None
    """adam or adamax."""
    ema: float | None = None
    """decay of the weights' moving average, such as 0.998."""
    warmup: int | None = None
    """time constant of the KL weight's rise, in gradient steps."""
    cluster_epoch: int | None = None
    """epoch after which mixture priors are set to the clusters of the codes."""
    device: str = "auto"
    """auto, cpu, cuda or another torch device."""
    overwrite: Switch = False
    """replace what the output folder holds."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Options:
        """The flags that a ``config.yaml`` gives; what else it says is not for this.

        Raises:
            InputError: for a value of another type.

        Example:
            >>> Options.read({"recipe": "vae", "lr": 1}).lr
            1
            >>> Options.read({"lr": "fast"})
            Traceback (most recent call last):
                ...
            pyro_vaes.errors.InputError: config.yaml: lr is 'fast': expected float
        """
        types = {name: each for name, each in typing.get_type_hints(cls).items() if name in config}
        return cls(**{name: typed(config, name, types[name]) for name in types})

    def config(self, settings: Settings) -> dict[str, Any]:
        """What ``config.yaml`` says, so that the run can be had again from any folder."""
        resolved = {
            name: ",".join(map(str, value)) if name in LISTS and not isinstance(value, int) else value
            for name, value in dataclasses.asdict(settings).items()
        }
        given = dataclasses.asdict(self) | resolved
        del given["overwrite"]
        for name in ("data", "data_root"):
            if given[name] is not None and Path(given[name]).exists():
                given[name] = str(Path(given[name]).resolve())
        return {name: value for name, value in given.items() if value is not None}

    def settings(self, base: Settings) -> Settings:
        """Some settings, with those that the flags give put in their place."""
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(base):
            if (value := getattr(self, field.name, None)) is not None:
                changes[field.name] = integers(field.name, str(value)) if field.name in LISTS else value
        if len(sizes := changes.get("latent_dim", ())) == 1:
            changes["latent_dim"] = sizes[0]
        return dataclasses.replace(base, **changes)

    def load(self, settings: Settings, download: bool = True) -> Data:
        """The data, the same in every run; unless told otherwise, prepared as the likelihood needs them."""
        from pyro_vaes import likelihoods
        from pyro_vaes.data import load
        from pyro_vaes.recipes.spec import apply_options, resolve

        kind, options = resolve("likelihood", likelihoods, likelihoods.Likelihood, settings.likelihood)
        preparation = apply_options("likelihood", settings.likelihood, kind.required_preprocessing, **options)
        preparation = {**preparation, **({"binarize": self.binarize} if self.binarize else {})}
        return load(self.data, self.data_root, train_size=self.train_size, download=download, **preparation)


def typed(config: Mapping[str, Any], name: str, kind: Any) -> Any:
    """A value of a ``config.yaml``, None if it has none; whole numbers may stand for lists of them and for floats.

    Raises:
        InputError: where it is of another type.

    Example:
        >>> typed({"seed": 3}, "seed", int)
        3
    """
    value = config.get(name)
    kinds = set(typing.get_args(kind) or (kind,)) - {type(None)}
    allowed = kinds | ({int} if name in LISTS or float in kinds else set())
    if value is not None and type(value) not in allowed:
        expected = " or ".join(each.__name__ for each in kinds)
        raise InputError(f"config.yaml: {name} is {shown(value)}: expected {expected}")
    return value


def integers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers from a list such as ``256,256``.

    Raises:
        InputError: for anything else.

    Example:
        >>> integers("hidden", "256,256"), integers("hidden", "500-500")
        ((256, 256), (500, 500))
    """
    try:
        return tuple(int(part) for part in text.strip("[]() ,").replace("-", ",").split(","))
    except ValueError:
        raise InputError(f"{name} is {text!r}: expected whole numbers, comma-separated, such as 256,256") from None
