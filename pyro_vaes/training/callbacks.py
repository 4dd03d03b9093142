"""Callbacks: hooks into the training loop."""

from __future__ import annotations

from pyro_vaes.training.state import Epoch, TrainingState


class Callback:
    """Base class of callbacks, whose methods :func:`pyro_vaes.fit` calls at fixed points of a training.

    A subclass overrides the hooks that it needs; each does nothing by default. Every hook is given the state of the
    training, with ``model``, ``guide``, ``history`` (one row per finished epoch), ``best_epoch`` and ``path`` (the run
    folder). Setting ``state.stop`` to True ends the training after the epoch under way, which is validated and saved as
    any other. A resumed training starts with the history of its checkpoint, so that a callback that decides by the
    history decides as without the break; its own attributes are not saved.

    Of several processes each has callbacks of its own, and all stop if one does; ``state.group.first`` tells which one
    writes. Random numbers that :meth:`on_epoch_start` or :meth:`on_step` draws from torch's global generator change
    the noise of the training.

    Example:
        >>> import pyro_vaes as pv
        >>> class EarlyStopping(Callback):
        ...     '''Ends a training whose valid_elbo has not risen for 2 epochs.'''
        ...
        ...     def on_epoch_end(self, state, row):
        ...         if row["epoch"] - state.best_epoch >= 2:
        ...             state.stop = True
        >>> data = pv.data.load("digits")
        >>> run = pv.fit(vae, guide, data, epochs=50, lr=0.3, progress=False, callbacks=[EarlyStopping()])
        >>> len(run.history) - run.best_epoch
        2
    """

    def on_start(self, state: TrainingState) -> None:
        """Called before the first epoch, after a checkpoint was loaded."""

    def on_epoch_start(self, state: TrainingState, epoch: Epoch) -> None:
        """Called before an epoch, or before the rest of one, of which ``epoch.seen`` examples were trained on."""

    def on_step(self, state: TrainingState, epoch: Epoch) -> None:
        """Called after each gradient step.

        ``epoch.records[-1]`` has the sums over the batch of objective and terms, in the order of ``state.step.names``,
        on the device: reading a value of it waits for the device.
        """

    def on_validation_start(self, state: TrainingState, epoch: Epoch) -> None:
        """Called after an epoch's last step."""

    def on_validation_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Called with the epoch's row of the history, which is not there yet.

        Model and guide are in evaluation mode, with the weights that were validated, the averaged ones with ``ema``.
        """

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Called with the last row of the history, before the epoch is saved."""

    def on_end(self, state: TrainingState) -> None:
        """Called at the end, also after Ctrl-C, SIGTERM or an error; then the best weights are loaded."""
