"""A limit of the time of a training."""

from __future__ import annotations

from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import TrainingState
from pyro_vaes.validation import check_positive


class TimeLimit(Callback):
    """Ends a training after the epoch in which its time is over.

    The time is that of the epochs in the history, so that a resumed training has what was left of it.

    Args:
        minutes: the time.

    Raises:
        InputError: If it is not a positive number.

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("digits", train_size=200)
        >>> limit = TimeLimit(minutes=1e-6)
        >>> run = pv.fit(vae, guide, data, epochs=100, progress=False, callbacks=[limit])
        >>> len(run.history)
        1
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = check_positive("minutes", minutes, "a positive number of minutes, such as 10")

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Stop if the time is over."""
        if sum(each["seconds"] for each in state.history) >= 60 * self.minutes:
            state.stop = True
