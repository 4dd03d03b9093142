"""The run folder: ``config.yaml``, ``metrics.jsonl``, ``checkpoint.pt`` and the checkpoint before that one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pyro_vaes.errors import InputError

CONFIG, METRICS, CHECKPOINT = "config.yaml", "metrics.jsonl", "checkpoint.pt"
BEFORE = "checkpoint.1.pt"  # the checkpoint before
DERIVED = (
    "diagnosis.html",
    "diagnosis.json",
    "evaluation.json",
    "samples.png",
)  # what the command line writes of the weights that are there
KEYS = {"model", "guide", "last", "history", "best_epoch"}  # of a checkpoint


class RunFolder:
    """A folder that holds one training run.

    Args:
        path: the folder; created, with its parents, when there is something to write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
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
        self.path.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``."""
        _write_whole(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode())

    def read_config(self) -> dict[str, Any]:
        """Read ``config.yaml``.

        Raises:
            InputError: where it is missing or no YAML mapping.
        """
        path = self.path / CONFIG
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path} cannot be read ({type(error).__name__}): give the folder of a run") from error
        if not isinstance(config, dict):
            raise InputError(f"{path} is no mapping of settings: give the folder of a run")
        return config

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Write ``metrics.jsonl``, one line an epoch."""
        _write_whole(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in history).encode())

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``, whole or not at all; the one that was there becomes ``checkpoint.1.pt``.

        Raises:
            InputError: where it cannot be written, as on a full disk; what was there before stays.
        """
        path = self.path / CHECKPOINT
        with _replacing(path) as part:
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
    weights, own = (state["last"] if last else state)[part], module.state_dict()
    reasons = [f"it lacks {name}" for name in own if name not in weights]
    reasons += [f"it has {name} too" for name in weights if name not in own]
    reasons += [
        f"its {name} has the shape {tuple(weights[name].shape)}, here it is {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if reasons:
        trained, here = state.get("classes", {}).get(part, part), type(module).__name__
        raise InputError(
            f"the checkpoint's {part} is a {trained} that does not fit this {here}: {reasons[0]}. "
            "Give the settings that it was trained with, which its config.yaml has"
        )
    module.load_state_dict(weights)


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint whose checksums are right; nothing in it is executed."""
    try:
        with zipfile.ZipFile(path) as records:  # torch writes a CRC-32 of each record, and does not look at it
            wrong = records.testzip()
        if wrong is not None:
            raise InputError(f"{path} is damaged (the checksum of {wrong})")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # of zipfile, of what it decompresses with, of torch: which one depends on the byte
        raise InputError(f"{path} is damaged ({type(error).__name__})") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise InputError(f"{path} is no checkpoint of fit")
    return state


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that at no moment it has none."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:  # a file system without links
        path.replace(name)


def _write_whole(path: Path, content: bytes) -> None:
    with _replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place once written and on disk."""
    part = path.with_name(f".{path.name}.part")  # always the same, so that kills leave no more than one behind
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
