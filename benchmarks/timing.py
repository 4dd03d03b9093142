"""Timing of rivals in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def in_turn(rivals: dict[str, Callable[[], object]], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of every call, the rivals taking turns, so that drift of a shared machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for repeat in range(warmup + repeats):
        for name, call in rivals.items():
            start = time.perf_counter()
            call()
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over the repeats of one rival's seconds in another's."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))
