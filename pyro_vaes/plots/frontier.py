"""The gap of guides against their time of inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pyro_vaes.plots.colors import colors
from pyro_vaes.plots.diagnostics import beside

if TYPE_CHECKING:
    from pyro_vaes.evaluate import MeanInterval


def gap_against_time(gaps: Mapping[str, MeanInterval], inference_ms: Mapping[str, float]) -> Figure:
    """Each guide's gap in nats with its interval, against its time of inference, and the frontier of those on which no
    other guide improves in both.

    Args:
        gaps: log p(x) - ELBO, by guide.
        inference_ms: milliseconds per inference of a batch, by guide.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, color in colors(gaps).items():
        gap = gaps[name]
        ends = [[gap.mean - gap.low], [gap.high - gap.mean]]
        axes.errorbar(inference_ms[name], gap.mean, yerr=ends, color=color, marker="o", capsize=3, label=name)
    best = frontier({name: (inference_ms[name], gap.mean) for name, gap in gaps.items()})
    points = [inference_ms[name] for name in best], [gaps[name].mean for name in best]
    axes.step(*points, where="post", color="0.7", zorder=0)
    axes.set(xlabel="ms per inference", ylabel="log p(x) - ELBO (nats)", xscale="log")
    axes.set_ylim(bottom=0)
    beside(axes)
    return figure


def frontier(points: Mapping[str, Sequence[float]]) -> list[str]:
    """The names of the points below which no other point lies in both coordinates, by the first coordinate.

    Example:
        >>> frontier({"slow": (3.0, 0.5), "fast": (1.0, 2.0), "worse": (2.0, 2.5)})
        ['fast', 'slow']
    """
    names: list[str] = []
    for name in sorted(points, key=lambda each: tuple(points[each])):
        if not names or points[name][1] < points[names[-1]][1]:
            names.append(name)
    return names
