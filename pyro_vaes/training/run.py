"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Run:
    """A training run.

    Attributes:
        history: one row per epoch: ``epoch``, ``train_elbo``, ``valid_elbo`` and each term of the loss, means per
            example in nats; ``step_ms``, milliseconds per gradient step; ``seconds`` for the epoch.
        path: the run folder, or None.
        best_epoch: the epoch of the best validation ELBO, whose weights model and guide now have.
        interrupted: whether Ctrl-C or SIGTERM ended the training.
        step: the kind of step that was taken, and why.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    path: Path | None = None
    best_epoch: int = 0
    interrupted: bool = False
    step: str = ""
