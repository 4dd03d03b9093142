"""Timing of rivals in turn, and where results are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def in_turn(rivals: dict[str, Callable[[], object]], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of every call, the rivals taking turns, so that drift of a shared machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for repeat in range(warmup + repeats):
        for name, call in rivals.items():
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds
