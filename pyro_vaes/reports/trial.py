"""One trained guide of a comparison, and its measurements."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import active_units, inference_ms, log_likelihood
from pyro_vaes.recipes import System
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.run import Run
from pyro_vaes.vae import VAE, Guide

TRIAL = "trial.json"
BATCH = 128  # images whose inference is timed


@dataclass(frozen=True)
class Trial:
    """One guide trained with one seed.

    Attributes:
        guide: name of the guide, with options if any.
        seed: seed of initial weights, data order and noise.
        system: the trained model and guide.
        history: ``Run.history`` of the training.
        row: what was measured on the test split: nats per image; milliseconds per gradient step (median over
            epochs) and per inference of 128 images.
    """

    guide: str
    seed: int
    system: System[VAE, Guide]
    history: list[dict[str, float]]
    row: dict[str, Any]


def finished_trial(guide: str, seed: int, system: System[VAE, Guide], path: Path) -> Trial:
    """The trial that an earlier call finished, from its run folder.

    Raises:
        InputError: If its ``trial.json`` is damaged or of another trial.
    """
    state = RunFolder(path).read_checkpoint()
    load_weights(system.model, state, "model")
    load_weights(system.guide, state, "guide")
    try:
        row = json.loads((path / TRIAL).read_text(encoding="utf-8"))
        if not (isinstance(row, dict) and (row.get("guide"), row.get("seed")) == (guide, seed)):
            raise ValueError("it is of another trial")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path / TRIAL} is damaged ({error}): remove it, and the trial is measured again") from error
    return Trial(guide, seed, system, state["history"], row)


def measure(guide: str, seed: int, system: System[VAE, Guide], run: Run, x: Tensor, num_samples: int) -> dict[str, Any]:
    """The row of a trial, measured on x; draws are fixed by its seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimate = log_likelihood(system.model, system.guide, x, num_samples)
        units = active_units(system.guide, x)
    return {
        "guide": guide,
        "seed": seed,
        "elbo": estimate.elbo.mean().item(),
        "log_likelihood": estimate.mean,
        "log_likelihood_stderr": estimate.stderr,
        "gap": estimate.gap,
        "unreliable": estimate.unreliable,
        "active_units": units,
        "step_ms": statistics.median(row["step_ms"] for row in run.history),
        "inference_ms": inference_ms(system.guide, x[:BATCH]),
        "parameters": sum(p.numel() for module in system[:2] for p in module.parameters()),
        "best_epoch": run.best_epoch,
    }
