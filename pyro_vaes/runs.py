"""The run folder: ``config.yaml``, ``metrics.jsonl`` and ``checkpoint.pt``."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pyro_vaes.errors import InputError

CONFIG, METRICS, CHECKPOINT = "config.yaml", "metrics.jsonl", "checkpoint.pt"
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
            if not (self.path / CHECKPOINT).exists():
                raise InputError(f"{self.path} holds no {CHECKPOINT} to resume from: start it without resume")
        elif self.path.exists() and any(self.path.iterdir()):
            if not overwrite:
                raise InputError(
                    f"{self.path} exists already: give another folder, or resume it (--resume), "
                    "or replace it (--overwrite)"
                )
            for name in (CONFIG, METRICS, CHECKPOINT, *DERIVED):
                (self.path / name).unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml``."""
        (self.path / CONFIG).write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")

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
        """Write ``checkpoint.pt``, whole or not at all."""
        with _replacing(self.path / CHECKPOINT) as part:
            torch.save(dict(state), part)

    def read_checkpoint(self) -> dict[str, Any]:
        """Read ``checkpoint.pt``; nothing in it is executed.

        Raises:
            InputError: where it is missing or damaged.
        """
        path = self.path / CHECKPOINT
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise InputError(f"{self.path} holds no {CHECKPOINT}: give the folder of a run") from error
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(f"{path} is damaged ({type(error).__name__}): train the run again") from error
        if not isinstance(state, dict) or not state.keys() >= KEYS:
            raise InputError(f"{path} is no checkpoint of fit: give the folder of a run")
        return state


def load_weights(module: nn.Module, state: Mapping[str, Any], part: str, last: bool = False) -> None:
    """Load one part of a checkpoint, with a message that names both sides where they differ.

    Args:
        module: what to load into.
        state: the checkpoint.
        part: ``"model"`` or ``"guide"``.
        last: whether to take the weights of the last epoch in place of the best.

    Raises:
        InputError: where names or shapes differ.
    """
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


def _write_whole(path: Path, content: bytes) -> None:
    with _replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def _replacing(path: Path) -> Any:
    """A new file beside ``path`` that takes its place once written and on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
