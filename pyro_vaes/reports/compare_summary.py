"""The rows of a comparison's report, one per guide: means, intervals, differences and ranks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.evaluate import difference, mean_interval, rank_ranges
from pyro_vaes.reports.diagnosis import Diagnosis
from pyro_vaes.reports.trial import Trial

MEANS = (
    "elbo",
    "guide_unreliable",
    "unreliable",
    "importance_bound",
    "active_units",
    "step_ms",
    "train_seconds",
    "inference_ms",
    "parameters",
)


def summarize(trials: Sequence[Trial], diagnoses: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """One row per guide, in the order of the trials.

    ``log_likelihood`` and ``gap`` have 95 % intervals over seeds and data; ``difference`` is that of log p(x) from the
    first guide, paired over data and the seeds that all guides have finished, and ``rank`` follows from such
    differences between all guides.

    Args:
        trials: what to report on.
        diagnoses: diagnoses of the guides, of which the approximation and amortization gaps are taken; or none.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.guide, []).append(trial)
    seeds = set.intersection(*({trial.seed for trial in group} for group in groups.values()))
    paired = {
        name: stacked([trial.measured.marginal.per_datum for trial in group if trial.seed in seeds])
        for name, group in groups.items()
        if seeds
    }
    parts = {each.pair.name: _parts(each) for each in diagnoses}
    compared = _compared(paired)
    return [
        {"guide": name, "seeds": len(group), **_figures(group), **parts.get(name, {}), **compared.get(name, {})}
        for name, group in groups.items()
    ]


def stacked(values: Sequence[Tensor]) -> Tensor:
    """The values of each datum by seed, ``(R, N)``."""
    return torch.stack([each.double() for each in values])


def interval(name: str, values: Tensor) -> dict[str, float]:
    """The mean of values ``(R, N)`` and the ends of its interval, as columns of this name."""
    found = mean_interval(values)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _figures(group: Sequence[Trial]) -> dict[str, Any]:
    """The figures of a guide over its seeds."""
    return {
        **interval("log_likelihood", stacked([trial.measured.marginal.per_datum for trial in group])),
        **interval("gap", stacked([trial.measured.gap for trial in group])),
        **{name: statistics.mean(trial.row[name] for trial in group) for name in MEANS},
    }


def _parts(diagnosis: Diagnosis) -> dict[str, float]:
    """The parts of the gap of the diagnosed data."""
    return {name: diagnosis.numbers[name]["mean"] for name in ("approximation_gap", "amortization_gap")}


def _compared(values: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Differences from the first and ranks of guides, from their values ``(R, N)`` on the same seeds and data."""
    if len(values) < 2:
        return {}
    ranks, (first, *others) = rank_ranges(values), values
    rows: dict[str, dict[str, Any]] = {first: {"rank": ranks[first]}}
    for name in others:
        found = difference(values[name], values[first])
        rows[name] = {
            "difference": found.mean,
            "difference_low": found.low,
            "difference_high": found.high,
            "degrees_of_freedom": found.degrees_of_freedom,
            "rank": ranks[name],
        }
    return rows
