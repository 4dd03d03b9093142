"""Data sets of three splits, from arrays or a torch ``Dataset``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyro_vaes.data.arrays import CHANNELS, as_images, as_labels
from pyro_vaes.data.holdout import Part, draw_missing
from pyro_vaes.data.kinds import find_kind
from pyro_vaes.data.missing import MISSING, check_seen_features, is_missing, share_missing, widened
from pyro_vaes.data.pixel_transform import PixelTransform, check_transform
from pyro_vaes.data.preprocess import Preprocessing
from pyro_vaes.data.split import Split, per_pixel_mean
from pyro_vaes.data.streaming import StreamedPixels
from pyro_vaes.errors import InputError, unknown


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: training, validation and test split, with a common shape and preprocessing.

    Args:
        train: images for training.
        valid: images for model selection.
        test: images for the final evaluation only.
        name: the name it was loaded by.
        description: source, sizes and preprocessing in one line, for reports.

    Example:
        >>> x = np.zeros((59, 4, 4), dtype=np.uint8)
        >>> Data.from_arrays(x_train=x[:50], x_test=x[50:]).description
        'arrays: 45 train, 5 valid, 9 test, 1x4x4; dequantized with uniform noise (256 bins)'
    """

    train: Split
    valid: Split
    test: Split
    name: str
    description: str

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one image ``(C, H, W)``, or of one vector ``(D,)``."""
        return tuple(self.train.pixels.shape[1:])

    @property
    def has_missing(self) -> bool:
        """Whether values are missing, which are NaN in ``x`` and False in ``mask`` of the splits."""
        return self.train.preprocessing.missing

    @property
    def kind(self) -> str:
        """Name of the kind of data, such as ``"pixels"``."""
        return self.train.preprocessing.kind

    @property
    def labeled(self) -> Data:
        """The data without the training and test examples of which a label is unknown, -1."""
        return replace(self, train=self.train.labeled, test=self.test.labeled)

    def as_pixels(self, x: Tensor) -> Tensor:
        """Inputs or means E[x | z] of a model, ``(..., *event_shape)``, as pixels in [0, 1], for pictures."""
        return self.train.preprocessing.transform.inverse(x)

    @classmethod
    def from_arrays(
        cls,
        *,
        x_train: object,
        x_test: object = None,
        y_train: object = None,
        y_test: object = None,
        x_valid: object = None,
        y_valid: object = None,
        binarize: str | None = None,
        dequantize: bool = True,
        seed: int = 0,
        channels: str | None = None,
        num_bins: int = 256,
        name: str = "arrays",
        train_size: int | None = None,
        center: bool = False,
        logit: bool = False,
        kind: str = "pixels",
        mask_train: object = None,
        mask_valid: object = None,
        mask_test: object = None,
    ) -> Data:
        """Data from NumPy or torch arrays, data frames, SciPy sparse matrices or AnnData objects.

        Pixels are uint8, bool, integers below ``num_bins``, or floats in [0, 1]; ``pyro_vaes.data.kinds`` says what
        data of other kinds are. Without a test split, a tenth of the training images is drawn by ``seed``; without a
        validation split, a tenth as well, at most 2,000, from the images beyond ``train_size`` if these are enough.
        Integer images of 0 and 1 only are binary data and stored as floats.

        Args:
            x_train: images or vectors.
            x_test: images or vectors for testing.
            y_train: integer labels, or vectors of floats, which a conditional model takes; or None.
            y_test: labels of ``x_test``.
            x_valid: images or vectors for validation.
            y_valid: labels of ``x_valid``.
            binarize: of pixels None, ``"dynamic"``, ``"static"`` or ``"threshold"``, see `Preprocessing`.
            dequantize: whether uniform noise is added to integer pixels that are not binarized.
            seed: seed of the drawn splits and of the noise.
            channels: ``"first"`` or ``"last"``, for images whose shape is ambiguous.
            num_bins: number of gray levels of integer pixels, 65,536 for 16-bit images.
            name: first word of the description.
            train_size: number of training images to keep, the first ones; all by default.
            center: whether the per-pixel mean of the training images is subtracted, see `PixelTransform`.
            logit: whether the logit of the pixels is taken, densities then being those in logit space.
            kind: ``"pixels"``, ``"binary"``, ``"counts"`` or ``"values"``.
            mask_train: True where ``x_train`` was seen, of its shape; None if nothing is missing but what a masked
                NumPy array masks and, of the kind ``"values"``, NaN.
            mask_valid: the same for ``x_valid``.
            mask_test: the same for ``x_test``.

        Shapes:
            x: ``(N, D)``, ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``; y: ``(N,)``, ``(N, F)`` or ``(N, C)``.

        Raises:
            InputError: If an array or option is invalid.
        """
        check_options(binarize, seed, channels, train_size, kind)
        check_transform(binarize, dequantize, center, logit, kind)
        stored = find_kind(kind)(num_bins)
        given = {
            "train": (x_train, y_train, mask_train),
            "valid": (x_valid, y_valid, mask_valid),
            "test": (x_test, y_test, mask_test),
        }
        parts: dict[str, Part] = {}
        for part, (x, y, mask) in given.items():
            if x is not None or part == "train":
                images = as_images(x, f"x_{part}", channels, stored, mask)
                parts[part] = (images, as_labels(y, f"y_{part}", len(images)))
            elif y is not None or mask is not None:
                raise InputError(f"{'mask' if y is None else 'y'}_{part} was given without x_{part}")
        missing = share_missing([x for x, _ in parts.values()])
        if missing:
            check_seen_features(parts["train"][0], "x_train")
            parts = {part: (widened(x), y) for part, (x, y) in parts.items()}
        _check_alike({f"x_{part}": x for part, (x, _) in parts.items()})
        parts, kept_bins = _gray_levels(parts, num_bins) if kind == "pixels" else (parts, None)
        note = f"; {missing:.1%} of the values missing" if missing else ""
        note += "" if "test" in parts else f"; test split: a tenth of x_train, drawn by seed {seed}"
        *seeds, draw_seed = (int(s) for s in np.random.SeedSequence(int(seed)).generate_state(4))
        parts = draw_missing(parts, train_size, np.random.default_rng(draw_seed))

        preprocessing = Preprocessing(binarize, dequantize, kept_bins, PixelTransform(logit), kind, missing > 0)
        if center:
            mean = per_pixel_mean(Split(*parts["train"], preprocessing, seeds[0]))
            preprocessing = replace(preprocessing, transform=PixelTransform(logit, mean))
        splits = {
            part: _split(parts[part], preprocessing, noise_seed) for part, noise_seed in zip(given, seeds, strict=True)
        }
        sizes = ", ".join(f"{len(split)} {part}" for part, split in splits.items())
        shape = "x".join(map(str, parts["train"][0].shape[1:]))
        return cls(**splits, name=name, description=f"{name}: {sizes}, {shape}; {preprocessing.describe()}{note}")

    @classmethod
    def from_dataset(
        cls,
        train: Dataset[Any],
        *,
        x_valid: object,
        x_test: object,
        y_valid: object = None,
        y_test: object = None,
        binarize: str | None = None,
        dequantize: bool = True,
        seed: int = 0,
        num_bins: int = 256,
        channels: str | None = None,
        item: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
    ) -> Data:
        """Data whose training images are read from a torch ``Dataset`` on demand, one batch ahead.

        For sets that do not fit into memory. Arrays that fit into the host's memory but not into the device's need no
        ``Dataset``, since batches are copied to the device on demand in any case. Every example is read once per epoch,
        and a few of the first ones before the training, to try and initialize the model.

        Args:
            train: items are images (tensors, arrays or PIL images) or vectors, or tuples whose first element is one;
                uint8, or floats in [0, 1], like ``x_valid``. Each is checked when it is read.
            x_valid: images for validation, held in memory.
            x_test: images for testing, held in memory.
            y_valid: labels of ``x_valid``.
            y_test: labels of ``x_test``.
            binarize: None, ``"dynamic"`` or ``"threshold"``, see `Preprocessing`.
            dequantize: whether uniform noise is added to integer pixels that are not binarized.
            seed: seed of the noise.
            num_bins: number of gray levels of integer pixels.
            channels: ``"first"`` or ``"last"``, for ``x_valid`` and ``x_test`` whose shape is ambiguous.
            item: function of an item of the ``Dataset`` that returns x, or (x, y), of which y is left out, such as
                ``lambda each: each["image"]`` for dictionaries.
            num_workers: processes that read and decode batches ahead, those of a ``DataLoader``; by default the
                training reads them itself. Where processes are spawned, ``train`` and ``item`` must be picklable.

        Raises:
            InputError: If the ``Dataset``, an array or an option is invalid.
        """
        if binarize == "static":
            raise InputError("binarize is 'static', which draws each pixel once and keeps it: a Dataset is not kept")
        pixels = StreamedPixels(train, num_bins, item, num_workers)
        held = cls.from_arrays(
            x_train=x_valid,
            y_train=y_valid,
            x_valid=x_valid,
            y_valid=y_valid,
            x_test=x_test,
            y_test=y_test,
            binarize=binarize,
            dequantize=dequantize,
            seed=seed,
            num_bins=num_bins,
            channels=channels,
        )
        _check_alike({"the Dataset": pixels, "x_valid": held.valid.pixels})
        preprocessing = held.valid.preprocessing
        sizes = f"{len(pixels)} train (read as needed), {len(held.valid)} valid, {len(held.test)} test"
        shape, name = "x".join(map(str, held.event_shape)), type(train).__name__
        description = f"{name}: {sizes}, {shape}; {preprocessing.describe()}"
        return replace(held, train=Split(pixels, None, preprocessing, seed), name=name, description=description)


def check_options(
    binarize: str | None, seed: int, channels: str | None, train_size: int | None, kind: str = "pixels"
) -> None:
    """Check the options of `Data.from_arrays` that do not depend on the arrays, before any work."""
    Preprocessing(binarize)
    if find_kind(kind).name != "pixels" and binarize is not None:
        raise InputError(f"binarize is {binarize!r}, but the data are {kind}: only pixels are binarized, leave it out")
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}: give a whole number, 0 or more")
    if channels is not None and channels not in CHANNELS:
        raise unknown("channels", str(channels), CHANNELS)
    if train_size is not None and (not isinstance(train_size, Integral) or train_size < 2):
        raise InputError(f"train_size is {train_size!r}: give a whole number, 2 or more, or None for all")


def _gray_levels(parts: dict[str, Part], num_bins: int) -> tuple[dict[str, Part], int | None]:
    """Parts of pixels, those of binary data as floats, and the number of gray levels, None for floats."""
    if parts["train"][0].is_floating_point():
        return parts, None
    top = max(int(x.max()) for x, _ in parts.values())
    if num_bins <= max(top, 1):
        raise InputError(f"num_bins is {num_bins}, but pixels go up to {top}: give at least {max(top, 1) + 1}")
    if top == 1 and num_bins == 256:
        return {part: (torch.where(is_missing(x), torch.nan, x.float()), y) for part, (x, y) in parts.items()}, None
    return parts, num_bins


def _check_alike(images: Mapping[str, Tensor | StreamedPixels]) -> None:
    """Check that sets of images, by name, have the size and the type of pixels of the first."""
    described = {
        name: ("x".join(map(str, x.shape[1:])), str(x.dtype).removeprefix("torch.")) for name, x in images.items()
    }
    first, (size, kind) = next(iter(described.items()))
    for name, (other_size, other_kind) in described.items():
        if other_size != size:
            raise InputError(f"images of {first} are {size} and of {name} {other_size}: make them one size")
        if other_kind != kind:
            raise InputError(f"pixels of {first} are {kind} and of {name} {other_kind}: give both the same way")


def _split(part: Part, preprocessing: Preprocessing, seed: int) -> Split:
    split = Split(*part, preprocessing, seed)
    if preprocessing.binarize != "static":
        return split
    drawn = replace(split, preprocessing=replace(preprocessing, binarize="dynamic")).x
    pixels = drawn.nan_to_num(nan=MISSING).to(torch.int16) if preprocessing.missing else drawn.to(torch.uint8)
    return replace(split, pixels=pixels, preprocessing=replace(preprocessing, num_bins=2))
