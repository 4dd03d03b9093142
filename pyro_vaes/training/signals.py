"""Times of checkpoints inside an epoch: by the clock, and when SIGTERM comes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


class CheckpointTimer:
    """Says between gradient steps whether a checkpoint is due.

    Args:
        minutes: minutes after the last checkpoint at which the next one is due.

    Attributes:
        terminated: whether SIGTERM came while it was deferred; a checkpoint is due then.

    Example:
        >>> timer = CheckpointTimer(minutes=10)
        >>> with timer.defer_sigterm():
        ...     timer.due()
        False
    """

    def __init__(self, minutes: float) -> None:
        self.seconds, self.terminated = 60 * minutes, False
        self.restart()

    def restart(self) -> None:
        """Count the minutes from now."""
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether to save now."""
        return self.terminated or time.monotonic() - self.last >= self.seconds

    @contextlib.contextmanager
    def defer_sigterm(self) -> Iterator[None]:
        """Context manager that notes SIGTERM, and on exit raises it for whoever handled it before."""
        with on_termination(self._note):
            yield
        if self.terminated:
            signal.raise_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True


@contextlib.contextmanager
def on_termination(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Context manager in which SIGTERM calls the handler; only in the main thread, where Python allows handlers.

    Example:
        >>> with on_termination(lambda number, frame: print("noted", number)):
        ...     signal.raise_signal(signal.SIGTERM)
        noted 15
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: a handler that is not Python's
