"""The run folder: ``config.yaml``, ``metrics.jsonl``, ``checkpoint.pt`` and the checkpoint before that one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.files import as_path, read_settings, unlinked

CONFIG, METRICS, CHECKPOINT = "config.yaml", "metrics.jsonl", "checkpoint.pt"
EVENTS = "events"  # folder of TensorBoard's event files
BEFORE = "checkpoint.1.pt"  # the checkpoint before
DERIVED = (
    "decoder.pt2",
    "diagnosis.html",
    "diagnosis.json",
    "encoder.pt2",
    "evaluation.json",
    "metrics.csv",
    "samples.png",
)  # what the command line writes of the weights that are there
KEYS = {"model", "guide", "last", "history", "best_epoch"}  # of a checkpoint
ROW = {"epoch", "train_elbo", "valid_elbo", "step_ms", "seconds"}  # of its history, beside the terms of the loss


class RunFolder:
    """A folder that holds one training run.

    Args:
        path: the folder; created, with its parents, when there is something to write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path, "the run folder")
        self._damaged = False  # whether checkpoint.pt is known to be

    @property
    def resumable(self) -> bool:
        """Whether a checkpoint is there."""
        return any((self.path / name).exists() for name in (CHECKPOINT, BEFORE))

    def claim(self, overwrite: bool, resume: bool) -> None:
        """Refuse to write over another run; with ``overwrite``, remove the files of the one that is there.

        Raises:
            InputError: where the folder is taken, or holds nothing to resume.
        """
        if overwrite and resume:
            raise InputError("overwrite and resume contradict each other: give one of the two")
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file, but a run needs a folder: give another path")
        if resume:
            if not self.resumable:
                raise InputError(f"{self.path} holds no {CHECKPOINT} to resume from: start it without resume")
        elif self.path.exists() and any(self.path.iterdir()):
            if not overwrite:
                raise InputError(
                    f"{self.path} exists already: give another folder, or resume it (--resume), "
                    "or replace it (--overwrite)"
                )
            for name in (CONFIG, METRICS, CHECKPOINT, BEFORE, *DERIVED):
                (self.path / name).unlink(missing_ok=True)
            for path in (self.path / EVENTS).glob("events.out.tfevents.*"):
                path.unlink()
        self.path.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``."""
        write_whole(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode())

    def read_config(self) -> dict[str, Any]:
        """Read ``config.yaml``.

        Raises:
            InputError: where it is missing or no YAML mapping.
        """
        return read_settings(self.path / CONFIG, "give the folder of a run")

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Write ``metrics.jsonl``, one line an epoch."""
        write_whole(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in history).encode())

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``, whole or not at all; the one that was there becomes ``checkpoint.1.pt``.

        Raises:
            InputError: where it cannot be written, as on a full disk; what was there before stays.
        """
        path = self.path / CHECKPOINT
        with replacing(path) as part:
            with part.open("wb") as file:  # given a path, torch hides what the system says of a full disk
                torch.save(dict(state), file)
            if path.exists() and not self._damaged:
                _keep(path, self.path / BEFORE)
        self._damaged = False

    def read_checkpoint(self) -> dict[str, Any]:
        """Read ``checkpoint.pt``, or, where it is damaged, the one before, and say so on standard error.

        Raises:
            InputError: where there is none, or none that is whole.
        """
        faults: list[str] = []
        for path in (self.path / CHECKPOINT, self.path / BEFORE):
            try:
                state = _read(path)
            except FileNotFoundError:
                continue
            except InputError as error:
                faults.append(str(error))
                continue
            if faults:
                self._damaged = True
                print(f"{faults[0]}; taking {path.name}, the one before it", file=sys.stderr)
            return state
        if faults:
            raise InputError(f"{', and '.join(faults)}: give the folder of another run, or train this one again")
        raise InputError(f"{self.path} holds no {CHECKPOINT}: give the folder of a run")


def load_weights(module: nn.Module, state: Mapping[str, Any], part: str, last: bool = False) -> None:
    """Load one part of a checkpoint, with a message that names both sides where they differ.

    Args:
        module: what to load into.
        state: the checkpoint.
        part: ``"model"`` or ``"guide"``.
        last: whether to take the weights of the last epoch in place of the best.

    Raises:
        InputError: where names or shapes differ, or the best weights are asked for before the first epoch's end.
    """
    if not (last or state["history"]):
        raise InputError("the run has not finished its first epoch: go on with it (--resume) before using its weights")
    weights, trained = (state["last"] if last else state)[part], state.get("classes", {}).get(part, part)
    advice = "the settings that it was trained with, which its config.yaml has"
    check_weights(module, weights, f"the checkpoint's {part} is a {trained}", advice)
    put_weights(module, weights)


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights that fit, and take note in their owners that a training goes on from them."""
    module.load_state_dict(weights)
    for part in module.modules():
        if hasattr(part, "initialized"):
            part.initialized = True  # type: ignore[assignment]


@contextlib.contextmanager
def restoring(folder: Path | None) -> Iterator[None]:
    """Within it parts of a folder's checkpoint are put in place; one that does not fit there is bad input.

    Raises:
        InputError: says how it did not fit.
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
        InputError: where names, shapes or kinds of numbers differ, or weights are not finite.

    Example:
        >>> check_weights(nn.Linear(2, 1), {}, "the file's model is a Linear", "its own model")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: the file's model is a Linear that does not fit this Linear: it lacks weight. Give
        its own model
    """
    own = module.state_dict()
    reasons = [f"it lacks {name}" for name in own if name not in weights]
    reasons += [f"it has {name} too" for name in weights if name not in own]
    reasons += [
        f"its {name} has the shape {tuple(weights[name].shape)}, here it is {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    reasons += [
        f"its {name} is {weights[name].dtype}, here it is {value.dtype}"
        for name, value in own.items()
        if name in weights and weights[name].is_floating_point() != value.is_floating_point()
    ]
    if reasons:
        raise InputError(f"{whose} that does not fit this {type(module).__name__}: {reasons[0]}. Give {advice}")
    spoilt = [name for name, _ in module.named_parameters() if not weights[name].isfinite().all()]
    if spoilt:
        raise InputError(f"{whose} with values in {spoilt[0]} that are not finite: give another, or train it again")


def read_whole(path: Path) -> Any:
    """What ``torch.save`` wrote to a file whose checksums are right; nothing in it is executed.

    Raises:
        InputError: where it is damaged, or no such file.
        FileNotFoundError: where there is none.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} is no file")
        with zipfile.ZipFile(path) as records:  # torch writes a CRC-32 of each record, and does not look at it
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
    return state


def _is_checkpoint(state: Any) -> bool:
    """Whether it has the parts of a checkpoint, each of the kind that it should be."""
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


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that at no moment it has none."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:  # a file system without links
        path.replace(name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        InputError: where it cannot be written; what was there before stays.
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place once written and on disk.

    Raises:
        InputError: where it cannot be written; what was there before stays.
    """
    part = unlinked(path.with_name(f".{path.name}.part"))  # always the same, so that kills leave no more than one
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); what was saved in {path.parent} before is whole: "
            "make room there, or mend the folder, and go on with resume (--resume) if it holds a checkpoint"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
