"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Run:
    """A training run.

    Attributes:
        history: one row per epoch: ``epoch``, ``train_elbo``, ``valid_elbo`` and each term of the loss, means per
            example in nats, the ELBO of :class:`~pyro_vaes.losses.IWAE` being its own bound; ``step_ms``,
            milliseconds per gradient step; ``seconds`` for the epoch.
        path: the run folder, or None.
        best_epoch: the epoch of the best validation ELBO, whose weights model and guide now have.
        interrupted: whether Ctrl-C or SIGTERM ended the training.
        step: the kind of step that was taken, and why.
        stopped: whether ``patience`` or a callback ended the training before its last epoch.

    Example:
        >>> print(Run([{"epoch": 1, "train_elbo": -5.0, "valid_elbo": -7.0}], best_epoch=1).summary())
        best validation ELBO -7.00 nats at epoch 1 of 1, training ELBO there -5.00, higher by 2.00; still rising at the
        last epoch: train longer
    """

    history: list[dict[str, float]] = field(default_factory=list)
    path: Path | None = None
    best_epoch: int = 0
    interrupted: bool = False
    step: str = ""
    stopped: bool = False

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch.

        Example:
            >>> Run([{"epoch": 1, "valid_elbo": -8.0}], best_epoch=1).best["valid_elbo"]
            -8.0
        """
        return self.history[self.best_epoch - 1]

    def summary(self) -> str:
        """The best epoch, its training ELBO against its validation ELBO, and why the training ended, in a sentence.

        The training ELBO is the mean over the steps of an epoch: above the validation ELBO by much, it says that the
        model overfits.

        Example:
            >>> rows = [{"epoch": n, "train_elbo": n, "valid_elbo": 0.0} for n in (1, 2, 3)]
            >>> print(Run(rows, best_epoch=1, stopped=True).summary())
            best validation ELBO 0.00 nats at epoch 1 of 3, training ELBO there 1.00, higher by 1.00; stopped, as it has
            not risen for 2 epochs
        """
        valid, train, epochs = self.best["valid_elbo"], self.best["train_elbo"], len(self.history)
        flat = epochs - self.best_epoch
        if self.stopped:
            end = f"stopped, as it has not risen for {_epochs(flat)}"
        elif flat:
            end = f"no rise for {_epochs(flat)}"
        else:
            end = "still rising at the last epoch: train longer"
        return (
            f"best validation ELBO {valid:.2f} nats at epoch {self.best_epoch} of {epochs}, training ELBO there "
            f"{train:.2f}, {'higher' if train >= valid else 'lower'} by {abs(train - valid):.2f}; {end}"
        )


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number != 1)}"
