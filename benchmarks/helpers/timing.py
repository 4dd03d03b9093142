"""Interleaved timing of this library and its baselines, and tables of the ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from benchmarks.helpers.results import Row
from pyro_vaes.reports.tables import markdown_table

Seconds = dict[str, list[float]]  # of every turn, by name; this library comes first


def interleaved(calls: Mapping[str, Callable[[], object]], turns: int, warmup: int = 2) -> Seconds:
    """Seconds of every call, one of each per turn, so that drift of a shared machine affects all of them alike."""
    seconds: Seconds = {name: [] for name in calls}
    for turn in range(warmup + turns):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Row:
    """Median over turns of a ratio, with its quartiles."""
    turns = [one / other for one, other in zip(numerators, denominators, strict=True)]
    low, middle, high = statistics.quantiles(turns, n=4)
    return {"median": middle, "quartiles": [low, high], "turns": len(turns)}


def ratio_rows(cases: Iterable[tuple[str, Seconds]]) -> list[Row]:
    """One row per case: median times, and the ratios of our time to each baseline's."""
    return [_ratio_row(case, seconds) for case, seconds in cases]


def ratio_table(rows: Sequence[Row]) -> list[str]:
    """One row per case and baseline."""
    cells = []
    for row in rows:
        ours = next(iter(row["ms"]))
        for name, found in row["ratio"].items():
            low, high = found["quartiles"]
            spread = f"{found['median']:.3g} ({low:.3g} to {high:.3g}, {found['turns']} turns)"
            cells.append([row["case"], ours, name, f"{row['ms'][ours]:.1f}", f"{row['ms'][name]:.1f}", spread])
    header = ["case", "ours", "baseline", "ours, ms", "baseline, ms", "ours / baseline (quartiles)"]
    return [markdown_table(header, cells)]


def _ratio_row(case: str, seconds: Seconds) -> Row:
    ours, *baselines = seconds
    return {
        "case": case,
        "ms": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "ratio": {name: ratio(seconds[ours], seconds[name]) for name in baselines},
    }
