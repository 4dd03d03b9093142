"""The run folder: ``config.yaml``, ``metrics.jsonl``, ``checkpoint.pt`` and its predecessor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
import yaml

from pyro_vaes.errors import InputError
from pyro_vaes.runs.atomic import _keep, replacing, write_whole
from pyro_vaes.runs.checkpoint import FORMAT, _read
from pyro_vaes.runs.safe_yaml import read_settings
from pyro_vaes.validation import as_path
from pyro_vaes.version import __version__

CONFIG, METRICS, CHECKPOINT = "config.yaml", "metrics.jsonl", "checkpoint.pt"
BEFORE = "checkpoint.1.pt"  # the checkpoint before
EVENTS = "events"  # folder of TensorBoard's event files
DERIVED = (
    "decoder.pt2",
    "diagnosis.html",
    "diagnosis.json",
    "encoder.pt2",
    "evaluation.json",
    "metrics.csv",
    "samples.png",
)  # what the command line writes of the weights that are there


class RunFolder:
    """A folder that holds one training run.

    Args:
        path: the folder; created, with its parents, when there is something to write.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = RunFolder(place + "/run")
        ...     folder.claim(overwrite=False, resume=False)
        ...     folder.write_config({"recipe": "vae"})
        ...     folder.read_config(), folder.resumable
        ({'recipe': 'vae'}, False)
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
            InputError: If the folder is taken, or holds nothing to resume.
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
            InputError: If it is missing or no YAML mapping.
        """
        return read_settings(self.path / CONFIG, "give the folder of a run")

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Write ``metrics.jsonl``, one line per epoch."""
        write_whole(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in history).encode())

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``, whole or not at all; the one that was there becomes ``checkpoint.1.pt``.

        Raises:
            InputError: If it cannot be written, as on a full disk; what was there before stays.
        """
        path = self.path / CHECKPOINT
        with replacing(path) as part:
            with part.open("wb") as file:  # given a path, torch hides what the system says of a full disk
                torch.save({**state, "format": FORMAT, "version": __version__}, file)
            if path.exists() and not self._damaged:
                _keep(path, self.path / BEFORE)
        self._damaged = False

    def read_checkpoint(self) -> dict[str, Any]:
        """Read ``checkpoint.pt``, or, if it is damaged, the one before, with a line on standard error.

        Raises:
            InputError: If there is none, or none that is whole.
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
