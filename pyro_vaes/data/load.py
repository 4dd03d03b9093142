"""Loading of a data set by its name or from a file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pyro_vaes.data.binary_sets import BINARY_SETS, read_binary_set
from pyro_vaes.data.dataset import Data, check_options
from pyro_vaes.data.files import READERS, read_file
from pyro_vaes.data.pixel_transform import check_transform
from pyro_vaes.data.sources import datasets, read_named
from pyro_vaes.errors import InputError, unknown
from pyro_vaes.validation import as_path


def load(
    name_or_npz_path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    binarize: str | None = None,
    seed: int = 0,
    *,
    dequantize: bool = True,
    train_size: int | None = None,
    channels: str | None = None,
    center: bool = False,
    logit: bool = False,
    download: bool = True,
    kind: str = "pixels",
    num_bins: int | None = None,
) -> Data:
    """A data set by its name, or from a file.

    Args:
        name_or_npz_path: one of `datasets`, or the path of a file: ``.npz`` with ``x_train`` and optionally
            ``y_train, x_valid, y_valid, x_test, y_test``, and ``mask_train, mask_valid, mask_test``, True where a
            value was seen; or one array or table, of which splits are drawn: ``.npy``,
            a sparse matrix of ``scipy.sparse.save_npz``, ``.csv`` or ``.parquet`` with a header, ``.h5ad``.
        root: folder of downloaded data in torchvision's layout, ``~/.cache/pyro_vaes`` if None; of a set that is
            binary as published its file, or the folder of it.
        binarize: None, ``"dynamic"``, ``"static"`` or ``"threshold"``, see `Preprocessing`.
        seed: seed of the drawn splits and of the noise; a test split of the source is kept as it is.
        dequantize: whether uniform noise is added to integer pixels that are not binarized.
        train_size: number of training images to keep, the first ones; all by default.
        channels: ``"first"`` or ``"last"``, for images of a file whose shape is ambiguous.
        center: whether the per-pixel mean of the training images is subtracted, see `PixelTransform`.
        logit: whether the logit of the pixels is taken, densities then being those in logit space.
        download: whether to download a missing data set.
        kind: ``"pixels"``, ``"binary"``, ``"counts"`` or ``"values"``, see ``pyro_vaes.data.kinds``.
        num_bins: number of gray levels of a file's integer pixels, 65,536 for 16-bit images; 256 by default.

    Nothing in a file is executed: pickled arrays are refused, and downloads are verified by digest first, see
    `read_named`.

    Raises:
        InputError: If the name is unknown, a file or folder is missing or damaged, torchvision cannot be imported, a
            download fails, a binarization is asked for of a set that is binary as published, or `Data.from_arrays`
            refuses the data.

    Example:
        >>> load("digits").description
        'digits: 1294 train, 143 valid, 360 test, 1x8x8; dequantized with uniform noise (17 bins)'
    """
    check_options(binarize, seed, channels, train_size, kind)
    check_transform(binarize, dequantize, center, logit, kind)
    if not isinstance(name_or_npz_path, (str, os.PathLike)):
        raise InputError(
            f"data is a {type(name_or_npz_path).__name__}: expected the name of a data set or the path of a file; "
            "give arrays to Data.from_arrays(x_train=...)"
        )
    path = as_path(name_or_npz_path, "data")
    name = os.fspath(name_or_npz_path)
    folder = _checked_root(root, name)
    if name not in datasets and path.suffix not in ("", *READERS):
        raise InputError(
            f"{name!r} is none of the files that are read, {', '.join(READERS)}: read it and give its arrays to "
            "Data.from_arrays(x_train=...), or write them with numpy.savez(path, x_train=..., y_train=...)"
        )
    if path.suffix in READERS:
        source, name = read_file(path), path.stem
        source = source if num_bins is None else replace(source, num_bins=num_bins)
    elif num_bins is not None and name in datasets:
        raise InputError(f"num_bins is {num_bins}, but {name} has gray levels of its own: leave it out")
    elif name in BINARY_SETS:
        _refuse_binarization(name, binarize)
        source, channels = read_binary_set(name, folder), None
    elif name in datasets:
        source, channels = read_named(name, folder, download), None
    else:
        raise unknown("data set", name, [*datasets, "FILE.npz"])
    data = Data.from_arrays(
        **source.arrays,
        binarize=binarize,
        dequantize=dequantize,
        seed=seed,
        channels=channels,
        num_bins=source.num_bins,
        name=name,
        train_size=train_size,
        center=center,
        logit=logit,
        kind=kind,
    )
    return replace(data, description=f"{data.description}; {source.note}") if source.note else data


def _checked_root(root: str | os.PathLike[str] | None, name: str) -> Path | None:
    """The data root, a folder, or of a set that is binary as published a file too."""
    if root is None:
        return None
    path = as_path(root, "the data root")
    if not (path.is_dir() or (name in BINARY_SETS and path.is_file())):
        expected = "a file or folder" if name in BINARY_SETS else "a folder"
        raise InputError(f"the data root {str(root)!r} is not {expected}: create it, or leave root out")
    return path


def _refuse_binarization(name: str, binarize: str | None) -> None:
    if binarize is not None:
        raise InputError(
            f"{name} is binary as published, and binarize is {binarize!r}: leave it out (command line: --binarize)"
        )
