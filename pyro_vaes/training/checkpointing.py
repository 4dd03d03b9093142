"""Callbacks that keep the weights: checkpoints, and the best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.finite import FiniteChecks
from pyro_vaes.training.signals import CheckpointTimer
from pyro_vaes.training.state import Epoch, TrainingState


class Checkpoint(Callback):
    """Writes the state to a run folder: at the end of each epoch, by the clock inside one, and on SIGTERM.

    Args:
        folder: the run folder.
        minutes: minutes after the last checkpoint at which one is written inside an epoch.
        finite: the checks that precede each checkpoint inside an epoch.

    Attributes:
        timer: says when a checkpoint is due, and defers SIGTERM.
    """

    def __init__(self, folder: RunFolder, minutes: float, finite: FiniteChecks) -> None:
        self.folder, self.timer, self.finite = folder, CheckpointTimer(minutes), finite

    def open(self, state: TrainingState, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
        """Claim the run folder, load its checkpoint to resume from, and write ``config.yaml``.

        Raises:
            InputError: If the folder is taken, or holds nothing that this training can resume.
        """
        state.group.on_rank_zero(lambda: self.folder.claim(overwrite, resume))
        state.path = self.folder.path
        if resume:
            state.load_state_dict(state.group.on_rank_zero(self.folder.read_checkpoint))
        state.group.on_rank_zero(lambda: self.folder.write_config(config))

    def on_step(self, state: TrainingState, epoch: Epoch) -> None:
        """Save if a checkpoint is due, in all processes after the same step."""
        if epoch.seen < state.size and state.group.any(self.timer.due(), state.loss.num_steps):
            self.finite.check(state, epoch)
            self._save(state, steps=len(epoch.records))

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Save the epoch."""
        self._save(state)

    def _save(self, state: TrainingState, steps: int = 0) -> None:
        """Save, in an epoch under way after some steps of it; then end the training if SIGTERM came to any process."""
        epochs = state.gather_epochs()
        state.group.on_rank_zero(lambda: self._write(state, epochs))
        state.note_kept(steps)
        self.timer.restart()
        self.timer.terminated = state.group.any(self.timer.terminated)
        if self.timer.terminated:
            raise KeyboardInterrupt

    def _write(self, state: TrainingState, epochs: Sequence[Mapping[str, Any]]) -> None:
        self.folder.write_checkpoint(state.state_dict(epochs))
        self.folder.write_metrics(state.history)


class BestWeights(Callback):
    """Keeps the weights of the best validation ELBO.

    Args:
        cluster_epoch: epoch after which clusters are initialized; later epochs do not compete with it and those before.
    """

    def __init__(self, cluster_epoch: int = 0) -> None:
        self.cluster_epoch = cluster_epoch

    def on_validation_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Keep the validated weights if they are the best."""
        rivals = state.history[self.cluster_epoch if row["epoch"] > self.cluster_epoch else 0 :]
        if row["valid_elbo"] > max((past["valid_elbo"] for past in rivals), default=-math.inf):
            state.best, state.best_epoch = state.weights(), int(row["epoch"])
