"""The runs in a folder, one row each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyro_vaes.errors import InputError
from pyro_vaes.runs.folder import CONFIG, METRICS, RunFolder
from pyro_vaes.settings import Settings, typed
from pyro_vaes.validation import as_path


def overview(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The runs in a folder and the folders below it, by path; nothing in them is executed.

    A row has the path ``run``, ``recipe`` and ``guide`` if a recipe built the system, ``data``, the number ``epochs``
    of finished epochs, ``valid_elbo``, the best validation ELBO in nats, and ``state``: finished; stopped, by patience
    or a callback; unfinished, interrupted or still in training; damaged.

    Raises:
        InputError: If there is no such folder.

    Example:
        >>> import tempfile
        >>> import pyro_vaes as pv
        >>> with tempfile.TemporaryDirectory() as place:
        ...     run = pv.fit(vae, guide, pv.data.load("digits"), epochs=1, progress=False, out=place + "/runs/vae")
        ...     [(row["epochs"], row["state"]) for row in overview(place)]
        [(1, 'finished')]
    """
    path = as_path(folder, "the folder of runs")
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give the one that holds runs")
    return [row for each in sorted(path.rglob(CONFIG)) if (row := _row(RunFolder(each.parent)))]


def _row(folder: RunFolder) -> dict[str, Any] | None:
    """The row of a run; None for a folder of something else, such as a comparison."""
    row = dict.fromkeys(("run", "recipe", "guide", "data", "epochs", "valid_elbo", "state")) | {"run": str(folder.path)}
    try:
        config = folder.read_config()
        row |= {name: typed(config, name, str) for name in ("recipe", "guide", "data")}
        if row["recipe"] is None and not (folder.path / METRICS).exists():
            return None
        history = _history(folder.path / METRICS)
        wanted, clusters = typed(config, "epochs", int) or Settings.epochs, typed(config, "cluster_epoch", int) or 0
        row["epochs"] = len(history)
        if history:  # epochs after the clusters are set do not compete with those before
            rivals = history[clusters if len(history) > clusters else 0 :]
            row["valid_elbo"] = max(each["valid_elbo"] for each in rivals)
        row["state"] = _state(folder, len(history), wanted)
    except InputError:
        row["state"] = "damaged"
    return row


def _history(path: Path) -> list[Mapping[str, float]]:
    """The rows of ``metrics.jsonl``, none before the first epoch has finished.

    Raises:
        InputError: If it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        rows = [json.loads(line) for line in text.splitlines()]
        return [{**row, "valid_elbo": float(row["valid_elbo"])} for row in rows]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error})") from error


def _state(folder: RunFolder, epochs: int, wanted: int) -> str:
    if epochs >= wanted:
        return "finished"
    if folder.resumable and folder.read_checkpoint().get("stopped"):
        return "stopped"
    return f"unfinished, of {wanted} epochs"
