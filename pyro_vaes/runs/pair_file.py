"""The file format of a saved pair: safetensors with a description, versions and a checksum as its metadata."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import safetensors.torch
import torch
import yaml
from safetensors import safe_open
from torch import Tensor

from pyro_vaes.errors import InputError, shown
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.runs.checkpoint import read_whole
from pyro_vaes.runs.safe_yaml import parse_mapping
from pyro_vaes.version import __version__

KIND, FORMAT, CHECKSUM = "pair of pyro_vaes", "2", "sha256"
PARTS = ("model", "guide")


@dataclass(frozen=True)
class PairFile:
    """The content of a file that ``save`` writes.

    Attributes:
        weights: the ``state_dict`` of ``"model"`` and of ``"guide"``.
        classes: the names of their classes.
        built: recipe, event shape and settings of a pair as a recipe builds it, else None.
        writer: the version of pyro_vaes that wrote the file.

    Example:
        >>> import tempfile
        >>> pair = PairFile({"model": {"w": torch.ones(2)}, "guide": {}}, {"model": "VAE", "guide": "MeanField"}, None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pair.safetensors"
        ...     pair.write(path)
        ...     PairFile.read(path).weights
        {'model': {'w': tensor([1., 1.])}, 'guide': {}}
    """

    weights: Mapping[str, Mapping[str, Tensor]]
    classes: Mapping[str, str]
    built: Mapping[str, Any] | None
    writer: str = __version__

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        tensors = {  # copies, since safetensors takes neither strides nor tensors that share memory
            f"{part}.{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for part in PARTS
            for name, value in self.weights[part].items()
        }
        metadata = {
            "kind": KIND,
            "format": FORMAT,
            "versions": yaml.safe_dump(versions(), sort_keys=False),
            "description": yaml.safe_dump({"classes": self.classes, "built": self.built}, sort_keys=False),
        }
        metadata[CHECKSUM] = checksum(tensors, metadata)
        write_whole(path, safetensors.torch.save(tensors, metadata))

    @classmethod
    def read(cls, path: Path) -> PairFile:
        """Read a file that may be anyone's; nothing in it is executed.

        Raises:
            InputError: If it is missing, damaged, of another format or no saved pair.
        """
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a file that save wrote; the folder of a run is for load_run")
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} {'is no file' if path.exists() else 'does not exist'}: give one that save wrote")
        try:
            with safe_open(path, framework="pt") as file:
                metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.offset_keys()}
            actual = checksum(tensors, metadata)
        except Exception as error:  # of safetensors, of torch: which one depends on the byte
            raise _refusal(path, error) from error
        if metadata.get("kind") != KIND:
            raise InputError(f"{path} is no file that save wrote: give one")
        writer = _mapping(metadata.get("versions")).get("pyro_vaes")
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path} has the format {shown(metadata.get('format'))}, written by pyro_vaes {shown(writer)}, but "
                f"this pyro_vaes {__version__} reads format {FORMAT}: take that version"
            )
        if metadata.get(CHECKSUM) != actual:
            raise InputError(f"{path} is damaged (its checksum): give a whole copy of it")
        described = _mapping(metadata.get("description"))
        classes, built = described.get("classes"), described.get("built")
        weights = {part: _of_part(part, tensors) for part in PARTS}
        whole = isinstance(built, dict | None) and sum(map(len, weights.values())) == len(tensors)
        if not (whole and isinstance(classes, dict) and all(isinstance(classes.get(part), str) for part in PARTS)):
            raise InputError(f"{path} lacks a part that save writes: give a file that it wrote")
        return cls(weights, classes, built, str(writer))


def _of_part(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def versions() -> dict[str, str]:
    """The versions that a file is written by."""
    return {
        "pyro_vaes": __version__,
        "torch": str(torch.__version__),
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file holds but the checksum itself; safetensors has none of its own.

    Example:
        >>> checksum({}, {"kind": "a"}) == checksum({}, {"kind": "a", "sha256": "whatever"})
        True
    """
    texts = sorted((name, text) for name, text in metadata.items() if name != CHECKSUM)
    kinds = [(name, str(value.dtype), *value.shape) for name, value in sorted(tensors.items())]
    found = hashlib.sha256(json.dumps([texts, kinds]).encode())
    for _, value in sorted(tensors.items()):
        found.update(value.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        return parse_mapping(text or "")
    except ValueError:
        return {}


def _refusal(path: Path, error: Exception) -> InputError:
    """The error for a file that is no safetensors, which files of format 1 and checkpoints are not."""
    try:
        content = read_whole(path)
    except (InputError, FileNotFoundError):
        reason = f"{path} is damaged ({type(error).__name__})"
        return InputError(f"{reason}, or no file that save wrote: give a whole copy of one")
    if not isinstance(content, dict) or content.get("kind") != KIND:
        return InputError(f"{path} is no file that save wrote: give one; a run's checkpoint is for load_run")
    found = content.get("versions")
    writer = found.get("pyro_vaes") if isinstance(found, dict) else None
    return InputError(
        f"{path} has the format {shown(content.get('format'))}, written by pyro_vaes {shown(writer)}, but "
        f"this pyro_vaes {__version__} reads format {FORMAT}: take that version"
    )
