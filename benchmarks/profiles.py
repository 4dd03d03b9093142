"""Where the time of an eager step goes: the operations that take most of it, under every guide."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import by_hand
from benchmarks.step import eager_training
from pyro_vaes.vae import Guide

WARM_UP, STEPS, SHOWN = 5, 10, 6


def run() -> Iterator[tuple[type[Guide], dict[str, float]]]:
    """Shares of the step's own time by operation, the largest first; the rest is Python's."""
    for kind in by_hand.LOSSES:
        step = eager_training(kind)
        for _ in range(WARM_UP):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as found, torch.profiler.record_function("step"):
            for _ in range(STEPS):
                step()
        rows = {row.key: row.self_cpu_time_total for row in found.key_averages()}
        whole = sum(rows.values())
        rows["Python and Pyro's handlers"] = rows.pop("step")
        largest = sorted(rows, key=rows.__getitem__, reverse=True)[:SHOWN]
        yield kind, {name: rows[name] / whole for name in largest}
