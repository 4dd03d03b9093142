"""The memory that data may take."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from pyro_vaes.errors import InputError


def check_memory(needed: float, what: str, advice: str) -> None:
    """Check that data fit into the memory of this machine.

    Args:
        needed: bytes that they take.
        what: what takes them, for the error.
        advice: what to do.

    Raises:
        InputError: If they do not fit.

    Example:
        >>> check_memory(1e18, "x_train takes", "save fewer images")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: x_train takes 931322574.6 GiB, but this machine has ... GiB of memory: save fewer
        images
    """
    if needed > (here := _memory()):
        raise InputError(
            f"{what} {needed / 2**30:.1f} GiB, but this machine has {here / 2**30:.1f} GiB of memory: {advice}"
        )


def _memory() -> float:
    """Bytes of memory available to this process, infinite if unknown."""
    known = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(ValueError, OSError):  # the limit of a container, "max" if it has none
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    return min(known, default=math.inf)
