"""Checks of a comparison before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.reports.contestants import Built
from pyro_vaes.reports.frozen import FrozenModel
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.initialization import start_from
from pyro_vaes.training.lr_schedules import build_lr_schedule
from pyro_vaes.training.optimizers import check_optimizer
from pyro_vaes.training.pair import check_pair
from pyro_vaes.training.validate import check_clip_norm, check_ema, check_fits, check_given, check_lr, check_patience
from pyro_vaes.vae import Guide, LatentVariableModel
from pyro_vaes.validation import check_whole, choose_device


def check_comparison(
    data: Data,
    made: Mapping[str, Built],
    seeds: Sequence[int],
    images: int,
    start: Guide | None,
    frozen: FrozenModel | None,
) -> None:
    """Build each guide once, and refuse what cannot be trained or compared.

    Raises:
        InputError: If guides or seeds are missing or repeat, a setting is none, a guide does not fit model and data, or
            the start would move the frozen model.
    """
    if not made or not seeds:
        raise InputError("nothing to compare: give at least one guide and one seed")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {', '.join(map(str, seeds))}: none may repeat")
    check_whole("images", images, least=0)
    if frozen and start is not None and not _same(start.vae.state_dict(), frozen.model):
        raise InputError(
            f"the start is a guide of another model than {frozen.name}: give one of the frozen model's own"
        )
    for each in made.values():
        _check_training(each.settings, len(data.train))
        system = each.build(seeds[0])
        check_pair(system.model, system.guide)
        given = check_given(system.model, system.guide, data)
        check_fits(system.model, data.valid, data.valid.x, data.valid.given(given))
        if start is not None:
            start_from(system.model, system.guide, start)


def _check_training(settings: Settings, size: int) -> None:
    """Refuse settings of a training on data of a size that ``fit`` would refuse."""
    choose_device(settings.device)
    epochs, batch_size = check_whole("epochs", settings.epochs), check_whole("batch_size", settings.batch_size)
    build_lr_schedule(settings.schedule, epochs * -(-size // batch_size))
    check_optimizer(settings.optimizer, check_lr(settings.lr))
    check_ema(settings.ema)
    check_clip_norm(settings.clip_norm)
    check_patience(settings.patience)


def claim(folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
    """Refuse to write over another report, or to go on with one of other settings; then write its ``config.yaml``.

    Raises:
        InputError: If the folder is taken, or the settings differ.
    """
    path = folder.path
    if overwrite and resume:
        raise InputError("overwrite and resume contradict each other: give one of the two")
    if resume and path.exists():
        before = folder.read_config()
        differ = [name for name in {**config, **before} if name != "out" and before.get(name) != config.get(name)]
        if differ:
            name = differ[0]
            raise InputError(
                f"{path} compares with {name} {before.get(name)}, not {config.get(name)}: give the same settings to go "
                f"on (pyro-vaes compare --config {path}/config.yaml --resume), or another folder"
            )
    elif path.exists() and not overwrite and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path} exists already: give another folder (--out), go on with it (--resume), or replace it (--overwrite)"
        )
    path.mkdir(parents=True, exist_ok=True)
    folder.write_config(config)


def check_same_model(folder: RunFolder, model: LatentVariableModel) -> None:
    """Refuse to go on with a trial of another frozen model.

    Raises:
        InputError: If the weights of the model in its checkpoint are not those of this model.
    """
    if not _same(folder.read_checkpoint()["model"], model):
        raise InputError(
            f"{folder.path} is a trial under a model of other weights than the frozen one: give that model, or another "
            "folder (--out)"
        )


def _same(weights: Mapping[str, Tensor], model: LatentVariableModel) -> bool:
    """Whether these are the weights and buffers of a model."""
    own = model.state_dict()
    return weights.keys() == own.keys() and all(torch.equal(weights[name].cpu(), own[name].cpu()) for name in own)
