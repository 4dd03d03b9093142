"""Where the time of an eager step goes: the operations that take most of it, under every guide."""

from __future__ import annotations

from collections.abc import Sequence

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.baselines import by_hand
from benchmarks.helpers.results import Folders, Row
from benchmarks.step import eager_training
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.vae import Guide

WARM_UP, STEPS, SHOWN = 5, 10, 6
PYTHON = "Python and Pyro's handlers"


def run(folders: Folders) -> list[Row]:
    return [{"guide": guide.__name__, "shares": _shares(guide)} for guide in by_hand.LOSSES]


def page(rows: Sequence[Row]) -> list[str]:
    cells = [[row["guide"], ", ".join(f"{key} {share:.0%}" for key, share in row["shares"].items())] for row in rows]
    return [markdown_table(["guide", "shares of the time"], cells)]


def _shares(guide: type[Guide]) -> dict[str, float]:
    """Shares of the step's own time by operation, the largest first; what is in no operation is Python's."""
    step = eager_training(guide)
    for _ in range(WARM_UP):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as found, record_function(PYTHON):
        for _ in range(STEPS):
            step()
    times = {row.key: row.self_cpu_time_total for row in found.key_averages()}
    largest = sorted(times, key=times.__getitem__, reverse=True)[:SHOWN]
    return {name: times[name] / sum(times.values()) for name in largest}
