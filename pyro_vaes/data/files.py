"""Files of data: arrays of NumPy, sparse matrices of SciPy, tables and annotated matrices."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vaes.data.memory import check_memory
from pyro_vaes.data.sources import Source
from pyro_vaes.data.tables import read_table
from pyro_vaes.errors import InputError

KEYS = tuple(f"{name}_{part}" for part in ("train", "valid", "test") for name in ("x", "y", "mask"))


def read_file(path: Path) -> Source:
    """The arrays of a file: of an ``.npz`` file those whose names are in `KEYS`, of another one ``x_train``.

    Raises:
        InputError: If the file is missing, damaged or pickled, does not fit into memory, or what reads it is not
            installed.
    """
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    return READERS[path.suffix](path)


def read_npz(path: Path) -> Source:
    """The arrays of an ``.npz`` file whose names are in `KEYS`, or its sparse matrix as ``x_train``.

    Raises:
        InputError: If the file is damaged or pickled, does not fit into memory, or has no ``x_train``.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{str(path)!r} is not an npz archive, or is truncated: write it with numpy.savez")
    with zipfile.ZipFile(path) as archive:
        sizes = {record.filename.removesuffix(".npy"): record.file_size for record in archive.infolist()}
    is_sparse = {"format", "shape", "data"} <= sizes.keys()
    needed = sum(size for name, size in sizes.items() if is_sparse or name in KEYS)
    check_memory(needed, f"{str(path)!r} unpacks to", "save fewer images, as uint8")
    if is_sparse:
        return Source({"x_train": _checked(path, _sparse)})
    arrays = _checked(path, _arrays)
    if "x_train" not in arrays:
        raise InputError(
            f"{str(path)!r} has no x_train: it holds {', '.join(sizes) or 'nothing'}: write it with "
            "numpy.savez(path, x_train=images)"
        )
    return Source(arrays)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in KEYS if key in archive.files}


def _sparse(path: Path) -> Any:
    from scipy.sparse import load_npz

    return load_npz(path)


def _read_npy(path: Path) -> Source:
    array = _checked(path, lambda path: np.load(path, mmap_mode="r", allow_pickle=False))
    check_memory(math.prod(array.shape) * array.itemsize, f"{str(path)!r} takes", "save fewer images, as uint8")
    return Source({"x_train": array})


def _read_anndata(path: Path) -> Source:
    try:
        from anndata import read_h5ad
    except ImportError as error:
        raise InputError(
            f"{str(path)!r} is read by anndata, which is not installed ({error}): pip install anndata"
        ) from error
    return Source({"x_train": _checked(path, read_h5ad)})


def _checked(path: Path, read: Callable[[Path], Any]) -> Any:
    """The content of a file by its reader, whose errors become ones that say what to do."""
    try:
        return read(path)
    except Exception as error:  # NumPy, SciPy, zipfile, zlib and HDF5 raise exceptions of many types
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise InputError(
                f"{str(path)!r} holds pickled objects, which are not loaded: if it holds images of "
                "several sizes, resize them to one, or if a data frame, keep its numeric columns, and save one array "
                "of numbers"
            ) from error
        raise InputError(f"{str(path)!r} is damaged ({error}): write it again") from error


#: What reads a file, by its ending.
READERS: dict[str, Callable[[Path], Source]] = {
    ".npz": read_npz,
    ".npy": _read_npy,
    ".csv": read_table,
    ".parquet": read_table,
    ".h5ad": _read_anndata,
}
