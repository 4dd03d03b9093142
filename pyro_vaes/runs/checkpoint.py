"""Checkpoints: reading, checking and loading weights that may come from anywhere."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError, shown
from pyro_vaes.version import __version__

FORMAT = 2  # of checkpoints; those of format 1 do not say so
FOLDER = 0x10  # attribute of a record that torch would read as empty, and leave its tensor uninitialized
KEYS = {"model", "guide", "last", "history", "best_epoch"}  # of a checkpoint
ROW = {"epoch", "train_elbo", "valid_elbo", "step_ms", "seconds"}  # of its history, beside the terms of the loss


def load_weights(module: nn.Module, state: Mapping[str, Any], part: str, last: bool = False) -> None:
    """Load one part of a checkpoint, or raise an error that names both sides.

    Args:
        module: what to load into.
        state: the checkpoint.
        part: ``"model"`` or ``"guide"``.
        last: whether to take the weights of the last epoch instead of the best.

    Raises:
        InputError: If names or shapes differ, or the best weights are asked for before the first epoch's end.
    """
    if not (last or state["history"]):
        raise InputError("the run has not finished its first epoch: go on with it (--resume) before using its weights")
    weights, trained = (state["last"] if last else state)[part], state.get("classes", {}).get(part, part)
    advice = "the settings that it was trained with, which its config.yaml has"
    check_weights(module, weights, f"the checkpoint's {part} is a {trained}", advice)
    module.load_state_dict(weights)


@contextlib.contextmanager
def restoring(folder: Path | None) -> Iterator[None]:
    """Context manager that turns any error of a checkpoint's part that does not fit into an ``InputError``.

    Raises:
        InputError: If a part does not fit.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the parts may be anything
        reason = str(error).partition("\n")[0]
        raise InputError(f"the checkpoint of {folder} cannot be resumed ({type(error).__name__}: {reason})") from error


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], whose: str, advice: str) -> None:
    """Refuse weights of another module, with a message that names both sides.

    Args:
        module: what they are to be loaded into.
        weights: a ``state_dict``.
        whose: what they are the weights of, as the message begins.
        advice: what to give in place of the module.

    Raises:
        InputError: If names, shapes or kinds of numbers differ, or weights are not finite.

    Example:
        >>> check_weights(nn.Linear(2, 1), {}, "the file's model is a Linear", "its own model")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the file's model is a Linear that does not fit this Linear: it lacks weight. Give
        its own model
    """
    own = module.state_dict()
    reasons = [f"it lacks {name}" for name in own if name not in weights]
    reasons += [f"it has {shown(name)} too" for name in weights if name not in own]
    reasons += [
        f"its {name} has the shape {shown(tuple(weights[name].shape))}, here it is {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    reasons += [
        f"its {name} is {weights[name].dtype}, here it is {value.dtype}"
        for name, value in own.items()
        if name in weights and _kind(weights[name]) != _kind(value)
    ]
    if reasons:
        raise InputError(f"{whose} that does not fit this {type(module).__name__}: {reasons[0]}. Give {advice}")
    for name, own_value in module.named_parameters():
        if not weights[name].to(own_value.dtype).isfinite().all():
            raise InputError(f"{whose} with values in {name} that are not finite: give another, or train it again")


def _kind(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()


def read_whole(path: Path) -> Any:
    """The content of a file of ``torch.save`` whose checksums are right; nothing in it is executed.

    Raises:
        InputError: If it is damaged, or no such file.
        FileNotFoundError: If there is none.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} is no file")
        with zipfile.ZipFile(path) as records:  # torch writes a CRC-32 of each record, and does not look at it
            if any(record.external_attr & FOLDER for record in records.infolist()):
                raise InputError(f"{path} is damaged (a record is marked as a folder)")
            if sum(record.file_size for record in records.infolist()) > path.stat().st_size:
                raise InputError(f"{path} is damaged (it unpacks to more than it has)")
            wrong = records.testzip()
        if wrong is not None:
            raise InputError(f"{path} is damaged (the checksum of {wrong})")
        with warnings.catch_warnings(action="ignore"):  # of kinds of tensors that are refused later
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # of zipfile, of what it decompresses with, of torch: which one depends on the byte
        raise InputError(f"{path} is damaged ({type(error).__name__})") from error


def _read(path: Path) -> dict[str, Any]:
    state = read_whole(path)
    if not _is_checkpoint(state):
        raise InputError(f"{path} is no checkpoint of fit")
    if (found := state.get("format", 1)) != FORMAT:
        raise InputError(
            f"{path} has the format {shown(found)}, written by pyro_vaes {shown(state.get('version'))}, but "
            f"this pyro_vaes {__version__} reads format {FORMAT}"
        )
    return state


def _is_checkpoint(state: Any) -> bool:
    """Whether a state has the parts of a checkpoint, each of the right type."""
    return (
        isinstance(state, dict)
        and state.keys() >= KEYS
        and isinstance(state["last"], dict)
        and all(are_weights(each.get(part)) for each in (state, state["last"]) for part in ("model", "guide"))
        and isinstance(state["history"], list)
        and all(_is_row(row) for row in state["history"])
        and isinstance(state["best_epoch"], int)
        and isinstance(state.get("classes", {}), dict)
    )


def are_weights(weights: Any) -> bool:
    """Whether something from a file is a ``state_dict`` of plain tensors."""
    return isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        for name, value in weights.items()
    )


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and row.keys() >= ROW and all(isinstance(row[name], (int, float)) for name in row)
