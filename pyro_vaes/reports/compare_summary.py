"""A comparison of guides, and the rows of its report, one per guide: means, intervals, differences and ranks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.data import Data
from pyro_vaes.evaluate import difference, mean_interval, rank_ranges
from pyro_vaes.reports.diagnosis import Diagnosis
from pyro_vaes.reports.frozen import FrozenModel
from pyro_vaes.reports.trial import Trial, by_guide
from pyro_vaes.settings import Settings

LEADING = (
    *("guide", "log_likelihood", "elbo", "gap", "gap_low", "gap_high", "approximation_gap", "amortization_gap"),
    *("unreliable", "train_seconds", "inference_ms"),
)  # columns that every report begins with
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


@dataclass(frozen=True)
class Comparison:
    """The trials of a comparison, and how they came about.

    Attributes:
        trials: the finished trials, one or more.
        diagnoses: diagnoses of each guide's first seed, or none.
        data: what was trained and measured on.
        settings: model and training.
        minutes: time limit of each training, None for none.
        frozen: the model of all guides; None if each has its own.
        varied: values of the settings that vary.
    """

    trials: Sequence[Trial]
    diagnoses: Sequence[Diagnosis]
    data: Data
    settings: Settings
    minutes: float | None = None
    frozen: FrozenModel | None = None
    varied: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[Trial]]:
        """The trials by guide."""
        return by_guide(self.trials)

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return sorted({trial.seed for trial in self.trials})

    @property
    def shared_seeds(self) -> set[int]:
        """The seeds that all guides have finished."""
        return set.intersection(*({trial.seed for trial in group} for group in self.groups.values()))


def summarize(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per guide.

    ``log_likelihood`` and ``gap`` have 95 % intervals over seeds and data. ``difference`` is that from the first guide,
    of log p(x) or, under a frozen model, of the ELBO, paired over data and shared seeds, and ``rank`` follows from such
    differences between all guides. The parts of the gap, and calibration, are those of the diagnosis.
    """
    parts = {each.pair.name: _diagnosed(each) for each in comparison.diagnoses}
    compared = _compared(paired(comparison, _elbo if comparison.frozen else _log_likelihood))
    return [
        dict.fromkeys(LEADING)
        | {"guide": name, "seeds": len(group), **_figures(group), **parts.get(name, {}), **compared.get(name, {})}
        for name, group in comparison.groups.items()
    ]


def paired(comparison: Comparison, values: Callable[[Trial], Tensor]) -> dict[str, Tensor]:
    """Values of each guide, ``(R, N)``, on the seeds that all guides share; empty if they share none."""
    seeds = comparison.shared_seeds
    return {
        name: stacked([values(trial) for trial in group if trial.seed in seeds])
        for name, group in comparison.groups.items()
        if seeds
    }


def stacked(values: Sequence[Tensor]) -> Tensor:
    """The values of each datum by seed, ``(R, N)``."""
    return torch.stack([each.double() for each in values])


def interval(name: str, values: Tensor) -> dict[str, float]:
    """The mean of values ``(R, N)`` and the ends of its interval, as columns of this name."""
    found = mean_interval(values)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _log_likelihood(trial: Trial) -> Tensor:
    return trial.measured.marginal.per_datum


def _elbo(trial: Trial) -> Tensor:
    return trial.measured.bounds.elbo


def _figures(group: Sequence[Trial]) -> dict[str, Any]:
    """The figures of a guide over its seeds."""
    return {
        **interval("log_likelihood", stacked([_log_likelihood(trial) for trial in group])),
        **interval("gap", stacked([trial.measured.gap for trial in group])),
        **{name: statistics.mean(trial.row[name] for trial in group) for name in MEANS},
        "overfitting": statistics.mean(_overfitting(trial) for trial in group),
    }


def _overfitting(trial: Trial) -> float:
    """Training ELBO - validation ELBO at the best epoch, in nats."""
    best = trial.history[trial.row["best_epoch"] - 1]
    return best["train_elbo"] - best["valid_elbo"]


def _diagnosed(diagnosis: Diagnosis) -> dict[str, Any]:
    """The figures of a diagnosis that a comparison shows."""
    numbers = diagnosis.numbers
    parts = {name: numbers[name]["mean"] for name in ("approximation_gap", "amortization_gap")}
    return {**parts, **{name: numbers["calibration"][name] for name in ("calibrated", "smallest_p")}}


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
