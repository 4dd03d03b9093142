"""Progress of a training, on a terminal or in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm.auto import tqdm

from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import Epoch, TrainingState

GAP = 30.0  # seconds between two lines of a log, or a hundredth of the time since the start where that is longer


class Progress(Callback):
    """Progress of a training on standard error: its ELBO with the parts, its rate and the time that is left.

    On a terminal and in a notebook it is a bar. In a log file it is one line per epoch, so that the file can be read
    with ``cat``: at most one every 30 seconds, and the last; after an hour lines become rarer, so that a training of a
    week writes some hundred of them. A resumed training first says in which epoch it goes on.

    Args:
        epochs: number of epochs in all.
        size: examples per epoch.
        seen: examples that were trained on before.
        shown: whether to show anything.

    Example:
        >>> progress = Progress(epochs=2, size=100, seen=0, shown=False)
        >>> progress.update(100)
        >>> progress.epoch({"epoch": 1, "train_elbo": 1.0, "valid_elbo": 1.0, "reconstruction": 3.0, "kl": 2.0})
        >>> progress.close()
    """

    def __init__(self, epochs: int, size: int, seen: int, shown: bool) -> None:
        live = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.epochs, self.total, self.seen, self.first = epochs, epochs * size, seen, seen
        self.logs = shown and not live
        self.started = time.monotonic()
        self.due = 0.0  # seconds after the start
        if shown and seen:
            epoch = seen // size + 1
            where = f"in epoch {epoch} of {epochs}" if epoch <= epochs else f"after all its {epochs} epochs"
            print(f"resumed {where}", file=sys.stderr, flush=True)
        self.bar = tqdm(
            total=self.total,
            initial=seen,
            unit=" images",
            unit_scale=True,
            disable=not (shown and live),
            mininterval=0.5,
        )

    def on_step(self, state: TrainingState, epoch: Epoch) -> None:
        """Show the examples of the batch."""
        self.update(state.seen - self.seen)

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Show the epoch."""
        self.epoch(row, last=state.stop)

    def on_end(self, state: TrainingState) -> None:
        """Close the bar."""
        self.close()

    def update(self, count: int) -> None:
        """Count further examples that were trained on."""
        self.seen += count
        self.bar.update(count)

    def epoch(self, row: Mapping[str, float], last: bool = False) -> None:
        """Show the end of an epoch, with its row of the history, in a log in any case if it is the last one."""
        text = (
            f"ELBO train {row['train_elbo']:.2f} (reconstruction {row['reconstruction']:.2f}, KL {row['kl']:.2f}) "
            f"valid {row['valid_elbo']:.2f} nats"
        )
        self.bar.set_postfix_str(f"epoch {row['epoch']} {text}", refresh=False)
        elapsed = time.monotonic() - self.started
        if self.logs and (elapsed >= self.due or self.seen >= self.total or last):
            self.due = elapsed + max(GAP, elapsed / 100)
            rate = (self.seen - self.first) / max(elapsed, 1e-9)
            left = tqdm.format_interval((self.total - self.seen) / max(rate, 1e-9))
            line = f"epoch {row['epoch']}/{self.epochs}: {text}; {tqdm.format_sizeof(rate)} images/s, {left} left"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()
