"""The end of a training whose validation ELBO no longer rises."""

from __future__ import annotations

import math

from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import TrainingState


class EarlyStopping(Callback):
    """Ends a training whose ``valid_elbo`` has not risen for some epochs.

    The history and the best epoch decide, so that a resumed training stops where the whole one does. Epochs up to
    ``cluster_epoch``, and those in which the guide warms up, do not count: it is validated as it will be used, and
    trained as a simpler one.

    Args:
        patience: number of epochs since the best one after which the training ends.

    References:
        Early Stopping - But When? (Prechelt, 1998).

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("digits")
        >>> run = pv.fit(vae, guide, data, epochs=50, lr=0.3, patience=2, progress=False)
        >>> run.stopped, len(run.history) - run.best_epoch
        (True, 2)
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_start(self, state: TrainingState) -> None:
        """Stop a resumed training at once if its history says so."""
        self._stop_if_flat(state)

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Stop after an epoch that was the last of the patience."""
        self._stop_if_flat(state)

    def _stop_if_flat(self, state: TrainingState) -> None:
        epochs, steps = len(state.history), max(1, state.loss.num_steps)
        warm = math.ceil(state.step.warmup * epochs / steps)  # epochs that the warm-up takes
        if epochs > state.cluster_epoch and epochs - max(state.best_epoch, warm) >= self.patience:
            state.stop = True
