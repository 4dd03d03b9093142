"""Guides compared: each with a model of its own, trained jointly, or all on one frozen model."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_vaes.data import Data
from pyro_vaes.data.check import check_data
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.inputs import of_split
from pyro_vaes.missing import missing_values
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.compare_checks import check_comparison, check_same_model, claim
from pyro_vaes.reports.compare_report import write_report
from pyro_vaes.reports.compare_summary import Comparison
from pyro_vaes.reports.contestants import Contestant, contestants, named
from pyro_vaes.reports.diagnose import diagnose
from pyro_vaes.reports.diagnosis import Diagnosis, NamedPair
from pyro_vaes.reports.frozen import frozen, frozen_settings, load_frozen
from pyro_vaes.reports.measurement import MARGINAL_SAMPLES, measured_rows
from pyro_vaes.reports.sweep import written
from pyro_vaes.reports.trial import TRIAL, Trial, by_guide, finished_trial, new_trial
from pyro_vaes.runs.folder import CHECKPOINT, RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.fit import fit
from pyro_vaes.training.time_limit import TimeLimit
from pyro_vaes.vae import Guide, LatentVariableModel
from pyro_vaes.validation import check_seed, check_whole


def compare(
    data: Data,
    guides: Sequence[Contestant] | Mapping[str, Contestant],
    settings: Settings | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    out: str | os.PathLike[str] = "report",
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    model: str | os.PathLike[str] | LatentVariableModel | None = None,
    minutes: float | None = None,
    num_samples: int = 1000,
    test_size: int | None = None,
    images: int = 20,
    start: Guide | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """Train each guide with each seed on the same data, and write a report.

    Without ``model``, each guide is trained jointly with a model of its own, with the same initial decoder: the report
    compares log p(x) of these models. With one, that model is frozen and the guides alone are trained, until they
    converge: the report compares their gaps, so that only inference differs.

    Args:
        data: what to train and test on.
        guides: names of guides, with options if any, such as ``laplace(updates=1)``; classes of guides; or, in a
            mapping by the name in the report, these or a pair ``(model, guide)`` of your own, of which every seed
            trains a copy.
        settings: model and training; by default small ones, and for the model of a run folder its own sizes, with at
            most 200 epochs and a patience of 10.
        seeds: one trial each.
        out: folder of the report; its folder ``runs`` gets one run folder per trial.
        vary: values of settings, such as ``{"prior": ["standard-normal", "vamp-prior"]}``: each guide is trained with
            each of them, and of several settings with each combination.
        model: a trained model to freeze, or the folder of its run; its weights and buffers stay as they are.
        minutes: time of each training, which ends after the epoch in which it is over; None for no limit.
        num_samples: draws of the guide per test datum, for its ELBO and its own importance weights.
        test_size: number of test data to measure on, evenly spaced; at most 500 if left out. log p(x) of each takes
            0.05 to 0.1 seconds, in every trial, or once for a frozen model.
        images: number of these data of a diagnosis of every guide's first seed at the end, which splits the gap; 0 for
            none.
        start: a trained mean-field guide, from which the model and every guide start, see :func:`pyro_vaes.fit`.
        overwrite: whether to replace the report that ``out`` holds.
        resume: whether to go on with the comparison that ``out`` holds: finished trials are kept, an interrupted one
            goes on from its last checkpoint.
        progress: whether to show progress.
        config: what ``config.yaml`` says of the data; by default the settings.

    Returns:
        The finished trials; Ctrl-C leaves those that were finished, and a report on them.

    Raises:
        InputError: If a guide or setting does not exist, or a report does already; before any training.

    Example:
        >>> import tempfile
        >>> import pyro_vaes as pv
        >>> data, settings = pv.data.load("digits", train_size=200), pv.recipes.Settings(latent_dim=2, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trials = compare(data, ["mean-field", pv.guides.LowRank], settings, [0], folder + "/report",
        ...                      num_samples=50, test_size=5, images=0, progress=False)
        >>> [trial.guide for trial in trials]
        ['mean-field', 'low-rank']
    """
    check_data(data)
    out, frozen_model = Path(out), None
    if settings is None:
        settings = Settings() if model is None else frozen_settings(model)
    if model is not None:
        frozen_model = load_frozen(model, data, settings)
    seeds, num_samples = [check_seed(seed) for seed in seeds], check_whole("num_samples", num_samples)
    limits = [] if minutes is None else [TimeLimit(minutes)]
    guides, varied = named(guides), vary or {}
    made = contestants(guides, data.event_shape, settings, frozen_model, varied)
    described = settings.config() if config is None else dict(config)
    whole = {**described, "guides": ",".join(guides), "seeds": ",".join(map(str, seeds)) + ","}
    whole |= {"num_samples": num_samples, "test_size": test_size, "minutes": minutes, "images": images}
    whole |= {"model": frozen_model.path if frozen_model else None, "out": str(out)}
    whole |= dict.fromkeys(("guide", "seed", "start_epochs"))  # which each guide has of its own
    if varied:
        whole["vary"] = [written(name, values) for name, values in varied.items()]
    check_comparison(data, made, seeds, images, start, frozen_model)
    rows = measured_rows(data, test_size)
    claim(RunFolder(out), {name: value for name, value in whole.items() if value is not None}, overwrite, resume)
    trials: list[Trial] = []
    diagnoses: list[Diagnosis] = []
    shown, marginal = progress and sys.stderr.isatty(), None
    with missing_values(data.has_missing):
        try:
            if frozen_model:
                (view,) = of_split(data.test, rows, frozen_model.model)
                kept = out / "log_likelihood"  # which a resumed comparison does not estimate again
                x = data.test.x[rows]
                marginal = marginal_log_likelihood(view, x, None, MARGINAL_SAMPLES, progress=shown, out=kept)
            for name, seed in ((name, seed) for name in made for seed in seeds):
                if progress:
                    print(f"{name}, seed {seed}", flush=True)
                path = out / "runs" / f"{slug(name)}-seed{seed}"
                system = made[name].build(seed)
                going_on = resume and (path / CHECKPOINT).exists()
                with frozen(system.model) if frozen_model else contextlib.nullcontext():
                    if frozen_model and going_on:
                        check_same_model(RunFolder(path), system.model)
                    if resume and (path / TRIAL).exists():
                        trials.append(finished_trial(name, seed, system, path, len(rows), num_samples))
                        continue
                    run = fit(
                        system.model,
                        system.guide,
                        data,
                        system.loss,
                        **replace(made[name].settings, seed=seed).training,
                        out=path,
                        overwrite=(overwrite or resume) and not going_on,
                        resume=going_on,
                        progress=progress,
                        callbacks=limits,
                        start=start,
                        config={**described, **made[name].config, "seed": seed, "out": str(path)},
                    )
                if run.interrupted:
                    break
                trials.append(new_trial(name, seed, system, run, data.test, rows, num_samples, marginal, shown))
            if images and len(trials) == len(made) * len(seeds):
                diagnoses = _diagnose(trials, data, rows, out, images, shown)
        except KeyboardInterrupt:  # Ctrl-C while measuring: the trials before are whole
            return trials
        finally:
            if trials:
                write_report(Comparison(trials, diagnoses, data, settings, minutes, frozen_model, varied), out)
    return trials


def _diagnose(
    trials: Sequence[Trial], data: Data, rows: Tensor, out: Path, images: int, progress: bool
) -> list[Diagnosis]:
    """The diagnosis of every guide's first seed, on some of the measured data; the report stands without it."""
    few = evenly_spaced(len(rows), images)
    pairs = [
        NamedPair(name, *first.system[:2], first.history, marginal=first.measured.marginal.take(few))
        for name, (first, *_) in by_guide(trials).items()
    ]
    try:
        return diagnose(pairs, data, out, rows[few], progress=progress)
    except InputError as error:
        print(f"no diagnosis: {error}")
        return []
