"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pyro_vaes.errors import InputError


def unlinked(path: Path) -> Path:
    """The path, after removing a link that is there: what is written to it stays in its folder."""
    if path.is_symlink():
        path.unlink()
    return path


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, such that at no moment it has none."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:  # a file system without links
        path.replace(name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        InputError: If it cannot be written; what was there before stays.
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager that gives a new file beside ``path``, which takes its place once written and on disk.

    Raises:
        InputError: If it cannot be written; what was there before stays.
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
