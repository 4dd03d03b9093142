"""The flags that commands share, and what they stand for. Importing this loads nothing heavy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pyro_vaes.errors import InputError

if TYPE_CHECKING:
    from pyro_vaes.data import Data
    from pyro_vaes.recipes import Settings

Switch = Annotated[bool, Parameter(negative="")]


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
    """gaussian, bernoulli, discretized-logistic or poisson, with options if any, such as gaussian(scale=0.25)."""
    prior: str | None = None
    """standard-normal, gaussian-mixture or vamp-prior, with options if any, such as gaussian-mixture(components=5)."""
    latent_dim: int | None = None
    """size of the latent."""
    hidden: str | None = None
    """sizes of the hidden layers, such as 256,256."""
    epochs: int | None = None
    """passes through the training data."""
    batch_size: int | None = None
    """images a gradient step."""
    lr: float | None = None
    """learning rate of Adam."""
    device: str = "auto"
    """auto, cpu, cuda or another torch device."""
    overwrite: Switch = False
    """replace what the output folder holds."""

    def config(self, settings: Settings) -> dict[str, Any]:
        """What ``config.yaml`` says, so that the run can be had again from any folder."""
        resolved = dataclasses.asdict(settings) | {"hidden": ",".join(map(str, settings.hidden))}
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
                changes[field.name] = integers("hidden", str(value)) if field.name == "hidden" else value
        return dataclasses.replace(base, **changes)

    def load(self, settings: Settings) -> Data:
        """The data, the same in every run; unless told otherwise, prepared as the likelihood needs them."""
        from pyro_vaes import likelihoods
        from pyro_vaes.data import load
        from pyro_vaes.naming import build

        likelihood = build("likelihood", likelihoods, likelihoods.Likelihood, settings.likelihood)
        preparation = {**likelihood.preparation, **({"binarize": self.binarize} if self.binarize else {})}
        return load(self.data, self.data_root, train_size=self.train_size, **preparation)


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
