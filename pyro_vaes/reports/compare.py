"""Guides compared under one model: same initial decoder, data order and number of epochs, several seeds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro_vaes.data import Data
from pyro_vaes.data.check import check_data
from pyro_vaes.errors import InputError
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.compare_report import write_report
from pyro_vaes.reports.contestants import Contestant, contestants
from pyro_vaes.reports.diagnose import diagnose
from pyro_vaes.reports.diagnosis import Diagnosis, NamedPair
from pyro_vaes.reports.measurement import evaluation_data
from pyro_vaes.reports.trial import TRIAL, Trial, finished_trial, new_trial
from pyro_vaes.runs.folder import CHECKPOINT, RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.fit import fit
from pyro_vaes.training.initialization import start_from
from pyro_vaes.training.lr_schedules import build_lr_schedule
from pyro_vaes.training.optimizers import check_optimizer
from pyro_vaes.training.validate import check_clip_norm, check_ema, check_fits, check_lr, check_patience
from pyro_vaes.vae import Guide
from pyro_vaes.validation import check_seed, check_whole, choose_device


def compare(
    data: Data,
    guides: Sequence[Contestant] | Mapping[str, Contestant],
    settings: Settings | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    out: str | os.PathLike[str] = "report",
    *,
    num_samples: int = 1000,
    test_size: int | None = None,
    images: int = 20,
    start: Guide | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """Train each guide with each seed on the same model and data, and write a report.

    Args:
        data: what to train and test on.
        guides: names of guides, with options if any, such as ``laplace(updates=1)``; classes of guides; or, in a
            mapping by the name in the report, these or a pair ``(model, guide)`` of your own, of which every seed
            trains a copy.
        settings: model and training.
        seeds: one trial each.
        out: folder of the report; its folder ``runs`` gets one run folder per trial.
        num_samples: draws of the guide per test datum, for its ELBO and its own importance weights.
        test_size: number of test data to measure on, from the first; at most 500 if left out. log p(x) of each takes
            0.05 to 0.1 seconds, in every trial.
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
    out, settings = Path(out), settings or Settings()
    seeds, num_samples = [check_seed(seed) for seed in seeds], check_whole("num_samples", num_samples)
    made = contestants(guides, data.event_shape, settings)
    described = settings.config() if config is None else dict(config)
    whole = {**described, "guides": ",".join(made), "seeds": ",".join(map(str, seeds)) + ","}
    whole |= {"num_samples": num_samples, **({"test_size": test_size} if test_size else {}), "diagnose": images}
    for name in ("guide", "seed"):
        whole.pop(name, None)
    _check(data, made, settings, seeds, images, start)
    x_test = evaluation_data(data, test_size)
    _claim(RunFolder(out), whole | {"out": str(out)}, overwrite, resume)
    trials: list[Trial] = []
    diagnoses: list[Diagnosis] = []
    shown = progress and sys.stderr.isatty()
    try:
        for name, seed in ((name, seed) for name in made for seed in seeds):
            if progress:
                print(f"{name}, seed {seed}", flush=True)
            path = out / "runs" / f"{slug(name)}-seed{seed}"
            system = made[name].build(seed)
            if resume and (path / TRIAL).exists():
                trials.append(finished_trial(name, seed, system, path, len(x_test), num_samples))
                continue
            going_on = resume and (path / CHECKPOINT).exists()
            run = fit(
                system.model,
                system.guide,
                data,
                system.loss,
                **replace(settings, seed=seed).training,
                out=path,
                overwrite=(overwrite or resume) and not going_on,
                resume=going_on,
                progress=progress,
                start=start,
                config={**described, **made[name].config, "seed": seed, "out": str(path)},
            )
            if run.interrupted:
                break
            trials.append(new_trial(name, seed, system, run, x_test, num_samples, progress=shown))
        if images and len(trials) == len(made) * len(seeds):
            diagnoses = _diagnose(trials, data, out, min(images, len(x_test)), progress)
    except KeyboardInterrupt:  # Ctrl-C while measuring: the trials before are whole
        return trials
    finally:
        if trials:
            write_report(trials, diagnoses, data, x_test, settings, out)
    return trials


def _diagnose(trials: Sequence[Trial], data: Data, out: Path, images: int, progress: bool) -> list[Diagnosis]:
    """The diagnosis of every guide's first seed; the report stands without it."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.guide, trial)
    pairs = [
        NamedPair(name, *trial.system[:2], trial.history, marginal=trial.measured.marginal)
        for name, trial in first.items()
    ]
    try:
        return diagnose(pairs, data, out, images, progress=progress)
    except InputError as error:
        print(f"no diagnosis: {error}")
        return []


def _check(
    data: Data,
    made: Mapping[str, Any],
    settings: Settings,
    seeds: Sequence[int],
    images: int,
    start: Guide | None,
) -> None:
    if not made or not seeds:
        raise InputError("nothing to compare: give at least one guide and one seed")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {', '.join(map(str, seeds))}: none may repeat")
    check_whole("diagnose", images, least=0)
    choose_device(settings.device)
    epochs, batch_size = check_whole("epochs", settings.epochs), check_whole("batch_size", settings.batch_size)
    build_lr_schedule(settings.schedule, epochs * -(-len(data.train) // batch_size))
    check_optimizer(settings.optimizer, check_lr(settings.lr))
    check_ema(settings.ema)
    check_clip_norm(settings.clip_norm)
    check_patience(settings.patience)
    for each in made.values():
        system = each.build(seeds[0])
        check_fits(system.model, data.event_shape, data.valid.x)
        if start is not None:
            start_from(system.model, system.guide, start)


def _claim(folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
    """Refuse to write over another report, or to go on with one of other settings."""
    path = folder.path
    if overwrite and resume:
        raise InputError("overwrite and resume contradict each other: give one of the two")
    if resume and path.exists():
        before = folder.read_config()
        differ = [name for name in config if name != "out" and before.get(name) != config[name]]
        if differ:
            name = differ[0]
            raise InputError(
                f"{path} compares with {name} {before.get(name)}, not {config[name]}: give the same settings to go on "
                f"(pyro-vaes compare --config {path}/config.yaml --resume), or another folder"
            )
    elif path.exists() and not overwrite and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path} exists already: give another folder (--out), go on with it (--resume), or replace it (--overwrite)"
        )
    path.mkdir(parents=True, exist_ok=True)
    folder.write_config(config)
