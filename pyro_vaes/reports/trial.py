"""One trained guide of a comparison, and its measurements."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_vaes.data import Split
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import MarginalLogLikelihood, active_units, inference_ms
from pyro_vaes.evaluate.inputs import of_split, seeded
from pyro_vaes.given import split
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.recipes import System
from pyro_vaes.reports.measurement import Measurement, measure
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.run import Run
from pyro_vaes.vae import VAE, Guide

TRIAL, PER_DATUM = "trial.json", "per_datum.csv"
BATCH = 128  # images whose inference is timed


@dataclass(frozen=True)
class Trial:
    """One guide trained with one seed.

    Attributes:
        guide: name of the guide, with options if any.
        seed: seed of initial weights, data order and noise.
        system: the trained model and guide.
        history: ``Run.history`` of the training.
        measured: log p(x) of the model and the bounds of the guide for each test datum, in nats.
        row: the figures of the report: nats per image; milliseconds per gradient step (median over epochs) and per
            inference of 128 images; seconds of training.
    """

    guide: str
    seed: int
    system: System[VAE, Guide]
    history: Sequence[dict[str, float]]
    measured: Measurement
    row: dict[str, Any]


def by_guide(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The trials of each guide."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.guide, []).append(trial)
    return groups


def new_trial(
    guide: str,
    seed: int,
    system: System[VAE, Guide],
    run: Run,
    test: Split,
    rows: Tensor,
    num_samples: int,
    marginal: MarginalLogLikelihood | None = None,
    progress: bool = False,
) -> Trial:
    """The trial of a finished training, measured on x, and written to its run folder.

    Args:
        guide: name of the guide.
        seed: the trial's, which fixes the draws too.
        system: the trained model and guide.
        run: their training.
        test: the test split.
        rows: which of its data to measure on.
        num_samples: draws of the guide per datum.
        marginal: log p(x) of the model, where it is known.
        progress: whether to show bars.
    """
    x, (model, guide_of_x) = test.x[rows], of_split(test, rows, system.model, system.guide)
    measured = measure(model, guide_of_x, x, num_samples, seed, marginal, progress)
    with seeded(seed, reference_weight(system.model).device):
        units = active_units(guide_of_x, x)
    batch, guide_of_batch = next(split(BATCH, x, guide_of_x))
    row = {
        "guide": guide,
        "seed": seed,
        **measured.figures,
        "active_units": units,
        "step_ms": statistics.median(row["step_ms"] for row in run.history),
        "train_seconds": sum(row["seconds"] for row in run.history),
        "inference_ms": inference_ms(guide_of_batch, batch),
        "parameters": sum(p.numel() for module in system[:2] for p in module.parameters()),
        "best_epoch": run.best_epoch,
    }
    assert run.path is not None
    measured.write(run.path / PER_DATUM)
    write_whole(run.path / TRIAL, (json.dumps(row, indent=2) + "\n").encode())  # last: it says that the trial is whole
    return Trial(guide, seed, system, run.history, measured, row)


def finished_trial(guide: str, seed: int, system: System[VAE, Guide], path: Path, size: int, num_samples: int) -> Trial:
    """The trial that an earlier call finished, from its run folder, measured on ``size`` data.

    Raises:
        InputError: If one of its files is damaged or of another trial.
    """
    state = RunFolder(path).read_checkpoint()
    load_weights(system.model, state, "model")
    load_weights(system.guide, state, "guide")
    try:
        row = json.loads((path / TRIAL).read_text(encoding="utf-8"))
        if not (isinstance(row, dict) and (row.get("guide"), row.get("seed")) == (guide, seed)):
            raise ValueError("it is of another trial")
        measured = Measurement.read(path / PER_DATUM, size, num_samples)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path / TRIAL} or {PER_DATUM} beside it is damaged ({error}): remove {TRIAL}, and the trial is measured "
            "again"
        ) from error
    return Trial(guide, seed, system, state["history"], measured, row)
