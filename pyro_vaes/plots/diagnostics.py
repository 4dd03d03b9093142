"""Learning curves, inference gaps, and histograms of k-hat and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_vaes.plots.colors import colors

if TYPE_CHECKING:
    from pyro_vaes.evaluate import Calibration, InferenceGaps


def learning_curves(histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Figure:
    """Validation ELBO in nats by epoch, with one color per guide and one line per seed.

    Args:
        histories: ``Run.history`` of each seed, by guide.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    lows = []
    for name, color in colors(histories).items():
        for seed, history in enumerate(histories[name]):
            elbo = [row["valid_elbo"] for row in history]
            lows.append(elbo[len(elbo) // 10])
            label = name if seed == 0 else None
            axes.plot([row["epoch"] for row in history], elbo, color=color, label=label, alpha=0.8)
    axes.set(xlabel="epoch", ylabel="validation ELBO (nats)")
    axes.locator_params(axis="x", integer=True)
    if lows:
        axes.set_ylim(bottom=min(lows))  # else the first epochs dominate the scale
    beside(axes)
    return figure


def gap_bars(gaps: Mapping[str, InferenceGaps]) -> Figure:
    """Stacked bars of each guide's approximation and amortization gap in nats: means and standard errors over images.

    Args:
        gaps: results of ``inference_gaps``, by guide.
    """
    figure = Figure(figsize=(8, 0.5 * len(gaps) + 1.2), layout="constrained")
    axes = figure.subplots()
    summaries = [each.summary() for each in gaps.values()]
    left = [0.0] * len(gaps)
    for name in ("approximation_gap", "amortization_gap"):
        means, errors = zip(*(summary[name] for summary in summaries), strict=True)
        axes.barh([*gaps], means, left=left, xerr=errors, label=name, capsize=2)
        left = [start + mean for start, mean in zip(left, means, strict=True)]
    axes.set(xlabel="log p(x) - ELBO (nats)")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def pareto_histogram(gaps: Mapping[str, InferenceGaps]) -> Figure:
    """Histogram over images of the k-hat of each guide's weights; above 0.7, right of the line, it misses mass.

    Args:
        gaps: results of ``inference_gaps``, by guide.
    """
    figure, panels = _panels(len(gaps))
    shown = colors(gaps)
    for axes, (name, each) in zip(panels, gaps.items(), strict=False):
        khat = each.guide_pareto_k
        axes.hist(khat[khat.isfinite()].clamp(-0.5, 2).numpy(), bins=25, range=(-0.5, 2), color=shown[name])
        axes.axvline(0.7, color="black")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("guide's k-hat")
    return figure


def rank_histograms(calibrations: Mapping[str, Calibration]) -> Figure:
    """Rank histograms of simulated latents, with one line per dimension and one panel per guide.

    The ranks under an exact guide are uniform, within the band.

    Args:
        calibrations: results of ``calibration``, by guide.
    """
    figure, panels = _panels(len(calibrations))
    bins = 20
    shown = colors(calibrations)
    for axes, (name, each) in zip(panels, calibrations.items(), strict=False):
        cells = each.ranks * bins // (each.num_samples + 1)
        counts = torch.stack([torch.bincount(column, minlength=bins) for column in cells.T])
        expected = len(each.ranks) / bins
        axes.axhspan(expected - 3 * expected**0.5, expected + 3 * expected**0.5, color="0.9")
        axes.plot(torch.linspace(0, 1, bins), counts.T, color=shown[name], alpha=0.4, linewidth=1)
        axes.set(ylim=(0, max(2 * expected, 1.05 * counts.max().item())), xlabel="rank / L")
        axes.set_title(name, fontsize=9)
    return figure


def beside(axes: Axes) -> None:
    """Put the legend of some axes beside them, where it hides no curve."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, four per row."""
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 2.0 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels
