"""One training at a time in a process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pyro_vaes.errors import InputError

_lock = threading.RLock()  # which the thread that trains may take again, as in a callback


@contextlib.contextmanager
def only_thread() -> Iterator[None]:
    """Context manager that one thread at a time can be in, since Pyro's effect handlers are global to a process.

    Raises:
        InputError: If another thread is inside.
    """
    if not _lock.acquire(blocking=False):
        raise InputError(
            "another thread of this process is in fit, and Pyro's effect handlers are global to a process, so that the "
            "two would mix: start a process for each training, or one after the other"
        )
    try:
        yield
    finally:
        _lock.release()
