"""Validation and test splits drawn from the training images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.errors import InputError

MAX_VALID = 2000  # maximum size of a drawn validation split

Part = tuple[Tensor, Tensor | None]  # images and labels


def draw_missing(parts: dict[str, Part], train_size: int | None, rng: np.random.Generator) -> dict[str, Part]:
    """All three parts, the missing ones drawn from the training part, whose images keep their order.

    Args:
        parts: images and labels of ``"train"`` and, where they are given, of ``"valid"`` and ``"test"``.
        train_size: number of training images to keep, the first ones; None for all. A validation part is drawn from
            the images beyond them if these are enough.
        rng: generator of the draws.

    Raises:
        InputError: If there are too few training images.

    Example:
        >>> images = torch.arange(20).view(20, 1, 1, 1)
        >>> parts = draw_missing({"train": (images, None)}, None, np.random.default_rng(0))
        >>> {name: len(x) for name, (x, _) in parts.items()}
        {'train': 17, 'valid': 1, 'test': 2}
    """
    train = parts["train"]
    missing = [part for part in ("valid", "test") if part not in parts]
    if len(train[0]) <= len(missing):
        raise InputError(
            f"x_train has {len(train[0])} of the {len(missing) + 1} images that it needs at least, "
            f"to draw the {' and '.join(missing)} split from it"
        )
    if "test" in missing:
        available = len(train[0])
        drawn = rng.choice(available, max(1, available // 10), replace=False)
        test, train = _take(train, drawn), _take(train, np.setdiff1d(np.arange(available), drawn))
    else:
        test = parts["test"]
    available = len(train[0])
    size = available if train_size is None else int(train_size)
    if size > available:
        raise InputError(f"train_size is {size}, but there are {available} training images")
    if "valid" not in missing:
        return {"train": _take(train, np.arange(size)), "valid": parts["valid"], "test": test}
    count = max(1, min(size // 10, MAX_VALID))
    pool = np.arange(size, available) if available - size >= count else np.arange(size)
    drawn = rng.choice(pool, count, replace=False)
    kept = np.setdiff1d(np.arange(size), drawn)
    return {"train": _take(train, kept), "valid": _take(train, drawn), "test": test}


def _take(part: Part, index: np.ndarray) -> Part:
    images, labels = part
    where = torch.from_numpy(np.sort(index))
    return images[where], None if labels is None else labels[where]
