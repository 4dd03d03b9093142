"""Sources of data sets by name: scikit-learn and torchvision."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_vaes.data.coloured_digits import FACTORS, coloured
from pyro_vaes.errors import InputError

CACHE = Path("~/.cache/pyro_vaes")

#: The data sets that `load` knows by name, with a description of each.
datasets: dict[str, str] = {
    "digits": "1,437 / 360 handwritten digits, 8x8 with 17 gray levels; embedded, nothing to download",
    "coloured-digits": "the embedded digits in color, 8x8; y holds digit, ink, background and thickness",
    "mnist": "60,000 / 10,000 handwritten digits, 28x28",
    "coloured-mnist": "mnist in color, 28x28; y holds digit, ink, background and thickness",
    "binarized-mnist": "50,000 / 10,000 / 10,000 digits of mnist in a fixed binarization, 28x28; a file of yours",
    "caltech-101-silhouettes": "4,100 / 2,264 / 2,307 binary silhouettes of objects, 28x28; a file of yours",
    "fashion-mnist": "60,000 / 10,000 articles of clothing, 28x28",
    "omniglot": "19,280 / 13,180 handwritten characters of 50 alphabets, 28x28; the splits share no character",
    "svhn": "73,257 / 26,032 house-number digits, 32x32 in color",
    "cifar10": "50,000 / 10,000 photographs of ten classes, 32x32 in color",
}

COLOURED = {"coloured-digits": "digits", "coloured-mnist": "mnist"}

# torchvision's class, the files under the root that it reads, and the arguments of its training and test split
TORCHVISION: dict[str, tuple[str, str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "mnist": ("MNIST", "MNIST/raw", ({"train": True}, {"train": False})),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw", ({"train": True}, {"train": False})),
    "omniglot": ("Omniglot", "omniglot-py", ({"background": True}, {"background": False})),
    "svhn": ("SVHN", "*_32x32.mat", ({"split": "train"}, {"split": "test"})),
    "cifar10": ("CIFAR10", "cifar-10-batches-py", ({"train": True}, {"train": False})),
}


@dataclass(frozen=True)
class Source:
    """Arrays by the argument names of `Data.from_arrays`, with their number of gray levels and a note."""

    arrays: dict[str, Any]
    num_bins: int = 256
    note: str = ""


def read_named(name: str, root: Path | None, download: bool = True) -> Source:
    """One of `datasets`; ``root`` is the folder of torchvision's files, the cache if None.

    Torchvision compares the MD5 digest of each archive that it downloads with a known one before it unpacks it. Of
    existing files it verifies, before reading, those of svhn, those of cifar10, which are pickled, and the archive of
    omniglot. The files of mnist and fashion-mnist are plain arrays of bytes and read without verification.
    """
    if name in COLOURED:
        return _color(read_named(COLOURED[name], root, download))
    return _digits() if name == "digits" else _torchvision(name, root, download)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = bunch.images.astype(np.uint8), bunch.target
    test = np.zeros(len(y), dtype=bool)
    test[np.argsort(y, kind="stable")[::5]] = True  # every fifth image of each class, independent of the seed
    return Source({"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}, num_bins=17)


def _color(gray: Source) -> Source:
    """Colored digits; their seeds are fixed, so that the test split is always the same."""
    arrays = {}
    for seed, part in enumerate(("train", "test")):
        x = np.rint(gray.arrays[f"x_{part}"] * (255 / (gray.num_bins - 1))).astype(np.uint8)
        arrays[f"x_{part}"], arrays[f"y_{part}"] = coloured(x, gray.arrays[f"y_{part}"], seed)
    return Source(arrays, note=f"y holds {', '.join(FACTORS)}")


def _torchvision(name: str, root: Path | None, download: bool) -> Source:
    vision = _import_torchvision(name)
    class_name, files, splits = TORCHVISION[name]
    folder = CACHE.expanduser() if root is None else root

    def read(download: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        dataset = getattr(vision, class_name)
        return [_arrays(dataset(str(folder), download=download, **split), name) for split in splits]

    try:
        (x_train, y_train), (x_test, y_test) = read(download=False)
    except Exception as error:  # torchvision's readers raise exceptions of many types
        if "not found" not in str(error):
            raise InputError(
                f"the files {folder / files} of {name} are damaged ({_reason(error)}): "
                "delete them, and they are downloaded again"
            ) from error
        if not download:
            raise InputError(
                f"{name} is missing or incomplete at {folder / files}: load it with download=True"
            ) from error
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (x_train, y_train), (x_test, y_test) = read(download=True)
        except Exception as failure:
            raise InputError(
                f"{name} is missing or incomplete at {folder / files}, and could not be downloaded "
                f"({_reason(failure)}): give as root the folder above it, or load it once with network access"
            ) from failure
    if name == "omniglot":  # both splits number their characters from 0
        y_test = y_test + y_train.max() + 1
    note = "not the 24,345 / 8,070 split of the literature" if name == "omniglot" else ""
    return Source({"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}, note=note)


def _arrays(dataset: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a torchvision data set."""
    if name != "omniglot":
        return np.asarray(dataset.data), np.asarray(dataset.labels if name == "svhn" else dataset.targets)
    from PIL import Image

    pairs = [dataset[i] for i in range(len(dataset))]  # black ink on white, 105x105
    small = [np.asarray(image.resize((28, 28), Image.Resampling.BOX)) for image, _ in pairs]
    return 255 - np.stack(small), np.array([label for _, label in pairs])


def _import_torchvision(name: str) -> Any:
    try:
        from torchvision import datasets as vision
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a version mismatch raises any of these
        try:
            state = f"torchvision {importlib.metadata.version('torchvision')} does not match the installed torch"
        except importlib.metadata.PackageNotFoundError:
            state = "torchvision is not installed for torch"
        raise InputError(
            f"{name} is read by torchvision, but {state} {torch.__version__} ({_reason(error)}): install the "
            "torchvision release made for this torch, from the same index, or pip install 'pyro_vaes[vision]'"
        ) from error
    return vision


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
