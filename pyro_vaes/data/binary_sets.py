"""Data sets that are binary as published, static MNIST and Caltech-101 Silhouettes, from files that the user has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyro_vaes.data.files import read_npz
from pyro_vaes.data.sources import CACHE, Source
from pyro_vaes.errors import InputError

SIDE = 28
PARTS = ("train", "valid", "test")
TEXT_FILES = {part: f"binarized_mnist_{part}.amat" for part in PARTS}
MATLAB_NAMES = {"train": "train", "valid": "val", "test": "test"}  # prefixes of the variables of Marlin's file

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class BinarySet:
    """A published split into training, validation and test images.

    Attributes:
        files: names of its files, of which one is enough; of the text files that of the training images.
        sizes: number of images of each part.
        note: what the description of the data says of it.
    """

    files: tuple[str, ...]
    sizes: tuple[int, int, int]
    note: str


#: The data sets of this module, by the name that `pyro_vaes.data.load` knows.
BINARY_SETS = {
    "binarized-mnist": BinarySet(
        ("binarized-mnist.npz", TEXT_FILES["train"]), (50_000, 10_000, 10_000), "Larochelle's fixed binarization"
    ),
    "caltech-101-silhouettes": BinarySet(
        ("caltech101-silhouettes.npz", "caltech101_silhouettes_28_split1.mat"),
        (4_100, 2_264, 2_307),
        "split 1; object 0, background 1, as in the original",
    ),
}


def read_binary_set(name: str, root: Path | None) -> Source:
    """One of `BINARY_SETS`, with its own validation split.

    Args:
        name: its name.
        root: one of its files, or the folder that holds them; the cache if None.

    Raises:
        InputError: If there is no such file, it is damaged, or holds other numbers of images or values other than 0
            and 1.

    References:
        The Neural Autoregressive Distribution Estimator (Larochelle, Murray, 2011), for static MNIST, on the
        probabilities of On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov, Murray, 2008);
        Inductive Principles for Restricted Boltzmann Machine Learning (Marlin, Swersky, Chen, de Freitas, 2010), for
        the silhouettes.

    Example:
        >>> read_binary_set("binarized-mnist", Path("."))
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: binarized-mnist is not downloaded, and the folder '.' holds neither
        binarized-mnist.npz nor binarized_mnist_train.amat: give one of these files, or its folder, as root
        (command line: --data-root)
    """
    known = BINARY_SETS[name]
    path = _find(name, CACHE.expanduser() if root is None else root)
    arrays = READERS[path.suffix](path, known.sizes)
    for part, size in zip(PARTS, known.sizes, strict=True):
        arrays[f"x_{part}"] = _checked(arrays.get(f"x_{part}"), size, f"x_{part} of {str(path)!r}", name)
    return Source(arrays, note=known.note)


def _find(name: str, root: Path) -> Path:
    """The file of a set: ``root`` itself, or the first one that is in this folder."""
    files = BINARY_SETS[name].files
    if root.is_file():
        if root.suffix not in {Path(file).suffix for file in files}:
            raise InputError(f"{str(root)!r} is no file of {name}: expected {' or '.join(files)}")
        return root
    found = [root / file for file in files if (root / file).is_file()]
    if not found:
        raise InputError(
            f"{name} is not downloaded, and the folder {str(root)!r} holds neither {' nor '.join(files)}: give one of "
            "these files, or its folder, as root (command line: --data-root)"
        )
    return found[0]


def _read_npz(path: Path, sizes: tuple[int, int, int]) -> Arrays:
    return read_npz(path).arrays


def _read_text(path: Path, sizes: tuple[int, int, int]) -> Arrays:
    """Larochelle's three text files, one row of 784 digits per image, from the path of one of them."""
    return {
        f"x_{part}": _read_rows(path.with_name(file), size)
        for (part, file), size in zip(TEXT_FILES.items(), sizes, strict=True)
    }


def _read_rows(path: Path, size: int) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}: {', '.join(TEXT_FILES.values())} belong into one folder")
    try:
        with warnings.catch_warnings(action="error"):  # NumPy warns of an empty file
            rows = np.loadtxt(path, dtype=np.uint8, ndmin=2, max_rows=size + 1)
        return rows.reshape(-1, SIDE, SIDE)
    except Exception as error:  # NumPy raises exceptions of many types
        raise InputError(
            f"{str(path)!r} is damaged ({error}): expected rows of {SIDE**2} digits 0 or 1, separated by spaces"
        ) from error


def _read_matlab(path: Path, sizes: tuple[int, int, int]) -> Arrays:
    """Marlin's file, whose images are stored column by column and whose labels start at 1."""
    from scipy.io import loadmat, whosmat

    expected: dict[str, tuple[int, int]] = {}
    for prefix, size in zip(MATLAB_NAMES.values(), sizes, strict=True):
        expected |= {f"{prefix}_data": (size, SIDE**2), f"{prefix}_labels": (size, 1)}
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}  # before any array is unpacked
        wrong = next((name for name in expected if shapes.get(name) != expected[name]), None)
        found = {} if wrong else loadmat(path, variable_names=list(expected))
    except Exception as error:  # SciPy raises exceptions of many types
        raise InputError(f"{str(path)!r} is damaged, or no Matlab file of version 5 ({error}): get it again") from error
    if wrong:
        raise InputError(
            f"{str(path)!r} holds {wrong} of shape {shapes.get(wrong)}, expected {expected[wrong]}: give the "
            "published file"
        )
    arrays = {}
    for part, prefix in MATLAB_NAMES.items():
        arrays[f"x_{part}"] = found[f"{prefix}_data"].reshape(-1, SIDE, SIDE).swapaxes(1, 2)
        arrays[f"y_{part}"] = found[f"{prefix}_labels"].ravel().astype(np.int64) - 1
    return arrays


def _checked(x: np.ndarray | None, size: int, what: str, name: str) -> np.ndarray:
    """Images of 0 and 1 as uint8."""
    shape = None if x is None else x.shape
    if x is None or shape != (size, SIDE, SIDE):
        raise InputError(f"{what} has shape {shape}, but {name} has {(size, SIDE, SIDE)}: give the published file")
    if not ((x == 0) | (x == 1)).all():
        raise InputError(f"{what} holds values other than 0 and 1, but {name} is binary: give the published file")
    return x.astype(np.uint8)


READERS: dict[str, Callable[[Path, tuple[int, int, int]], Arrays]] = {
    ".npz": _read_npz,
    ".amat": _read_text,
    ".mat": _read_matlab,
}
