"""Guides compared under one model: same initial decoder, data order, epochs and budget, several seeds."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import LogLikelihood, active_units, log_likelihood
from pyro_vaes.naming import folder
from pyro_vaes.recipes import Settings, System, build_seeded, vae
from pyro_vaes.report import write_report
from pyro_vaes.runs import RunFolder
from pyro_vaes.training import Run, choose_device, fit


@dataclass(frozen=True)
class Trial:
    """One guide trained with one seed, and what was measured of it on the test split."""

    guide: str
    seed: int
    system: System
    run: Run
    estimate: LogLikelihood
    active_units: int

    def row(self) -> dict[str, Any]:
        """The figures of this trial: nats a test image; milliseconds a gradient step, the median over epochs."""
        modules = (self.system.model, self.system.guide)
        return {
            "guide": self.guide,
            "seed": self.seed,
            "elbo": self.estimate.elbo.mean().item(),
            "log_likelihood": self.estimate.mean,
            "log_likelihood_stderr": self.estimate.stderr,
            "gap": self.estimate.gap,
            "unreliable": self.estimate.unreliable,
            "active_units": self.active_units,
            "step_ms": statistics.median(row["step_ms"] for row in self.run.history),
            "parameters": sum(p.numel() for module in modules for p in module.parameters()),
            "best_epoch": self.run.best_epoch,
        }


def compare(
    data: Data,
    guides: Sequence[str],
    settings: Settings,
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    num_samples: int = 1000,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """Train each guide with each seed on the same model and data, and write a report.

    Args:
        data: what to train and test on.
        guides: names of guides, with options if any: ``laplace(updates=1)``.
        settings: model and budget.
        seeds: a trial each.
        out: folder of the report; its folder ``runs`` gets a run folder a trial.
        num_samples: importance samples a test datum.
        device: as in ``fit``.
        overwrite: whether to replace the report that ``out`` holds.
        progress: whether to show progress.
        config: where the data come from, for ``config.yaml``, of the report and of each run.

    Returns:
        The finished trials; Ctrl-C leaves those that were finished, and a report on them.

    Raises:
        InputError: for guides or settings that do not exist or an existing report, before any training.
    """
    out = Path(out)
    _check(data, guides, settings, seeds, out, overwrite, device, num_samples)
    config = dict(config or {})
    out.mkdir(parents=True, exist_ok=True)
    whole = {"guides": ",".join(guides), **config, "seeds": f"{','.join(map(str, seeds))},", "num_samples": num_samples}
    RunFolder(out).write_config({**whole, "out": str(out)})
    trials: list[Trial] = []
    for guide, seed in ((guide, seed) for guide in guides for seed in seeds):
        if progress:
            print(f"{guide}, seed {seed}", flush=True)
        system = build_seeded(vae, data.event_shape, replace(settings, guide=guide), seed)
        path = out / "runs" / f"{folder(guide)}-seed{seed}"
        run = fit(
            system.model,
            system.guide,
            data,
            system.loss,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            seed=seed,
            device=device,
            out=path,
            overwrite=overwrite,
            progress=progress,
            config={"recipe": "vae", **config, "guide": guide, "seed": seed, "out": str(path)},
        )
        if run.interrupted:
            break
        trials.append(_measure(guide, seed, system, run, data, num_samples))
    if trials:
        write_report(trials, data, settings, out)
    return trials


def _check(
    data: Data,
    guides: Sequence[str],
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    overwrite: bool,
    device: str,
    num_samples: int,
) -> None:
    if not guides or not seeds:
        raise InputError("nothing to compare: give at least one guide and one seed")
    if len(set(guides)) < len(guides) or len(set(seeds)) < len(seeds):
        raise InputError(f"guides {', '.join(guides)} with seeds {', '.join(map(str, seeds))}: none may repeat")
    if num_samples < 1:
        raise InputError(f"num_samples is {num_samples}: expected a whole number, 1 or more")
    choose_device(device)
    for guide in guides:
        system = build_seeded(vae, data.event_shape, replace(settings, guide=guide), seeds[0])
        system.model.likelihood.check(data.valid.x)
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: give another folder (--out), or replace it (--overwrite)")


def _measure(guide: str, seed: int, system: System, run: Run, data: Data, num_samples: int) -> Trial:
    x = data.test.x
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimate = log_likelihood(system.model, system.guide, x, num_samples)
    return Trial(guide, seed, system, run, estimate, active_units(system.guide, x))
