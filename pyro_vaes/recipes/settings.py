"""The settings of a system, as the command line and run folders know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyro_vaes.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Sizes and training settings of a system; the defaults are small ones, for 2 cores.

    Attributes:
        guide: name of the guide, with options if any, in place of the recipe's own.
        likelihood: name of the likelihood, with options if any.
        prior: name of the prior, with options if any; of a ladder one for all levels, or one a level, the lowest
            first, comma-separated.
        loss: name of the loss, with options if any, in place of the guide's own.
        network: kind of the networks, ``mlp``, ``conv`` or ``resnet``, with options if any.
        latent_dim: size Z of the latent; of a hierarchy the sizes of its levels, the lowest first.
        hidden: hidden layers of the encoder and, reversed, of the decoder: units of fully connected layers, channels
            of convolutions. Of a ladder, one a level.
        warmup: time constant of the KL weight's rise, in gradient steps, see ``ExponentialWarmup``; 0 for none.
        cluster_epoch: epoch after which mixture priors are set to the clusters of the codes; 0 for never.
        epochs: passes through the training data.
        batch_size: data a gradient step.
        lr: the learning rate.
        optimizer: ``adam`` or ``adamax``.
        ema: decay of the weights' exponential moving average; None for none.

    Example:
        >>> Settings(latent_dim=2).size, Settings(latent_dim=(2, 3)).levels
        (2, (2, 3))
    """

    guide: str | None = None
    likelihood: str = "gaussian"
    prior: str = "standard-normal"
    loss: str | None = None
    network: str = "mlp"
    latent_dim: int | Sequence[int] = 16
    hidden: Sequence[int] = (256, 256)
    warmup: int = 0
    cluster_epoch: int = 0
    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-3
    optimizer: str = "adam"
    ema: float | None = None

    @property
    def levels(self) -> tuple[int, ...]:
        """Size of each level's latent, the lowest first."""
        return tuple(self.latent_dim) if isinstance(self.latent_dim, Sequence) else (self.latent_dim,)

    @property
    def size(self) -> int:
        """Size of the only latent.

        Raises:
            InputError: where several are asked for.
        """
        if len(self.levels) > 1:
            raise InputError(f"latent_dim is {self.levels}, but this model has one latent: give one size")
        return self.levels[0]

    @property
    def training(self) -> dict[str, Any]:
        """The arguments of ``fit`` that are settings."""
        names = ("epochs", "batch_size", "lr", "optimizer", "ema", "cluster_epoch")
        return {name: getattr(self, name) for name in names}
