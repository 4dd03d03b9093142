"""Training of a recipe: in two stages, mean-field first, and with a choice among guides, where its settings say so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.recipes import Recipe, System, build_seeded
from pyro_vaes.recipes.spec import slug, split
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.runs.folder import CHECKPOINT, CONFIG, METRICS, RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.distributed import ProcessGroup, process_group
from pyro_vaes.training.fit import fit
from pyro_vaes.training.initialization import start_from
from pyro_vaes.training.run import Run
from pyro_vaes.vae import Guide
from pyro_vaes.validation import check_whole

Trained = tuple[System[Any, Any], Run]

START, CANDIDATES = "start", "candidates.json"


def fit_recipe(
    recipe: Recipe[Any, Any],
    data: Data,
    settings: Settings,
    out: str | os.PathLike[str],
    *,
    start: Guide | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> Trained:
    """Build a recipe and train it.

    With ``settings.start_epochs`` the mean-field guide is trained first, in ``out/start``, and the guide starts from
    its weights. Of several guides, comma-separated in ``settings.guide``, each is trained, in a folder of its own
    in ``out``; the run in ``out`` is that of the best validation ELBO, and ``candidates.json`` has those of all.

    Args:
        recipe: the recipe.
        data: the training and validation data.
        settings: its settings.
        out: run folder.
        start: a trained mean-field guide to start from, in place of the first stage.
        overwrite: whether to replace the run that ``out`` holds.
        resume: whether to continue the run that ``out`` holds, in the stage where it ended.
        progress: whether to show progress, as in ``fit``.
        config: what ``config.yaml`` holds beside recipe and settings.

    Returns:
        The system of the best guide and its run; of the stage that was interrupted, if one was.

    Raises:
        InputError: If a guide does not exist or cannot start there, before any training, or as for ``fit``.

    References:
        Recursive Inference for Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020), for the two stages and the
        choice of the number of components on validation data.

    Example:
        >>> import tempfile
        >>> import pyro_vaes as pv
        >>> recipe = pv.recipes.recursive_mixture
        >>> data = pv.data.load("digits", train_size=100)
        >>> guides = "recursive-mixture(components=2), recursive-mixture(components=3)"
        >>> settings = Settings(guide=guides, latent_dim=2, hidden=(8,), start_epochs=1, epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     system, run = pv.training.fit_recipe(recipe, data, settings, folder, overwrite=True)
        ...     sorted(path.name for path in run.path.iterdir() if path.is_dir())
        ['recursive-mixture-components=2', 'recursive-mixture-components=3', 'start']
    """
    guides: list[str | None] = [*split(settings.guide or "")] or [None]
    first = check_whole("start_epochs", settings.start_epochs, least=0) > 0 and start is None
    with process_group() as group:
        train = partial(_train, group, recipe, data, progress, config or {})
        if not first and len(guides) == 1:
            return train(settings, Path(out), start, overwrite, resume)
        mean_field = replace(settings, guide="mean-field", loss=None, epochs=settings.start_epochs, start_epochs=0)
        with group.raise_together():
            _check_starts(recipe, data, [replace(settings, guide=guide) for guide in guides], start or mean_field)
        group.on_rank_zero(lambda: _claim(RunFolder(out), _config(recipe, settings, out, config), overwrite, resume))
        if first:
            system, run = _go_on(train, mean_field, Path(out) / START, None, resume)
            if run.interrupted:
                return system, run
            start = system.guide
        if len(guides) == 1:
            return _go_on(train, settings, Path(out), start, resume)
        trained: dict[str, Trained] = {}
        for guide in split(settings.guide or ""):
            alone = replace(settings, guide=guide, start_epochs=0)
            trained[guide] = _go_on(train, alone, Path(out) / slug(guide), start, resume)
            if trained[guide][1].interrupted:
                return trained[guide]
        best = max(trained, key=lambda guide: trained[guide][1].best["valid_elbo"])
        chosen = _config(recipe, replace(settings, guide=best), out, config)
        group.on_rank_zero(lambda: _keep(trained, best, RunFolder(out), chosen))
    return trained[best][0], replace(trained[best][1], path=Path(out))


def _train(
    group: ProcessGroup,
    recipe: Recipe[Any, Any],
    data: Data,
    progress: bool,
    config: Mapping[str, Any],
    settings: Settings,
    out: Path,
    start: Guide | None,
    overwrite: bool,
    resume: bool,
) -> Trained:
    """One training of one guide."""
    with group.raise_together():
        system = build_seeded(recipe, data.event_shape, settings, settings.seed)
    run = fit(
        system.model,
        system.guide,
        data,
        system.loss,
        **settings.training,
        out=out,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
        config=_config(recipe, settings, out, config),
        start=start,
        labels=settings.labels is not None,
    )
    return system, run


def _go_on(train: Callable[..., Trained], settings: Settings, out: Path, start: Guide | None, resume: bool) -> Trained:
    """Resume a stage that has a checkpoint, and else start it, over what may be there."""
    resumes = resume and RunFolder(out).resumable
    return train(settings, out, start, not resumes, resumes)


def _check_starts(recipe: Recipe[Any, Any], data: Data, guides: Sequence[Settings], start: Guide | Settings) -> None:
    """Refuse guides that cannot be built, or cannot start from a mean-field guide, which settings may describe."""
    folders = [slug(settings.guide or "") for settings in guides]
    if repeated := {folder for folder in folders if folders.count(folder) > 1}:
        raise InputError(f"guide names {min(repeated)} twice: give each candidate once")
    if isinstance(start, Settings):
        try:
            start = build_seeded(recipe, data.event_shape, start, start.seed).guide
        except InputError as error:
            raise InputError(f"there is no mean-field guide to start from (start_epochs): {error}") from error
    for settings in guides:
        system = build_seeded(recipe, data.event_shape, settings, settings.seed)
        start_from(system.model, system.guide, start)


def _config(
    recipe: Recipe[Any, Any], settings: Settings, out: str | os.PathLike[str], more: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {"recipe": recipe.name, **settings.config(), **(more or {}), "out": str(out)}


def _claim(folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
    """Take the folder for all stages, with the settings from which they resume."""
    if resume and not overwrite:
        if not (folder.path / CONFIG).exists():
            raise InputError(f"{folder.path} holds no {CONFIG} to resume from: start it without resume")
        return
    folder.claim(overwrite, resume)
    folder.write_config(config)


def _keep(trained: Mapping[str, Trained], best: str, folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Copy the best run to where all of them are, and note the validation ELBO of each."""
    for name in (METRICS, CHECKPOINT):
        shutil.copy2(folder.path / slug(best) / name, folder.path / name)
    elbos = {guide: run.best["valid_elbo"] for guide, (_, run) in trained.items()}
    write_whole(folder.path / CANDIDATES, (json.dumps(elbos, indent=2) + "\n").encode())
    folder.write_config(config)
