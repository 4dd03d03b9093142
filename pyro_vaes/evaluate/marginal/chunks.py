"""Finished chunks of an estimate on disk, from which an interrupted one goes on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.given import given_of

Chunk = tuple[Tensor, ...]


class Chunks:
    """A folder of finished chunks, one file each.

    The names of the files tell the estimate: data, weights and settings. Those of another estimate are never read, so
    that many can share a folder; nor is a file that is damaged, whose chunk is computed again.

    Args:
        folder: the folder.
        x: the data.
        modules: model and guide; None for no guide.
        settings: all else that the estimate depends on.

    Raises:
        InputError: If model or guide is no module, whose weights could be told from others.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Chunks(folder, x, [vae, None], seed=0).write(3, (x[:, 0, 0, 0],))
        ...     len(Chunks(folder, x, [vae, None], seed=0).read(3)), Chunks(folder, x, [vae, None], seed=1).read(3)
        (1, None)
    """

    def __init__(self, folder: str | os.PathLike[str], x: Tensor, modules: list[Any], **settings: object) -> None:
        digest = hashlib.sha256(repr(sorted(settings.items())).encode())
        for module in modules:
            if not isinstance(module, nn.Module | None):
                raise InputError(
                    f"out keeps finished chunks, but {module!r} is no torch module, so that nothing tells its weights "
                    "from others: give a module, or do not give out"
                )
            state = {} if module is None else module.state_dict()
            given = given_of(module)
            digest.update(repr([type(module).__qualname__, *state, *given]).encode())
            for value in (*state.values(), *given.values()):
                digest.update(_bytes(value))
        digest.update(repr(x.shape).encode() + _bytes(x))
        self.folder, self.key = Path(folder), digest.hexdigest()[:16]

    def read(self, number: int) -> Chunk | None:
        """A chunk, or None if it is not there."""
        try:
            stored = safetensors.torch.load_file(self._path(number))
        except (OSError, SafetensorError):
            return None
        return tuple(stored[str(place)] for place in range(len(stored)))

    def write(self, number: int, chunk: Chunk) -> None:
        """Keep a chunk, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        part = path.with_suffix(".part")
        safetensors.torch.save_file({str(place): each.contiguous() for place, each in enumerate(chunk)}, part)
        part.replace(path)

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.key}-{number:05d}.safetensors"


def _bytes(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().numpy().tobytes()
