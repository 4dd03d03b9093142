"""One split of a data set, with its preprocessing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_vaes.data.missing import is_missing
from pyro_vaes.data.preprocess import Preprocessing
from pyro_vaes.data.streaming import StreamedPixels
from pyro_vaes.errors import InputError
from pyro_vaes.given import Given

CHUNK = 4096  # images that `Split.x` preprocesses at a time, which bounds the memory of the noise


@dataclass(frozen=True, eq=False)
class Split:
    """Stored images, their labels, and their `Preprocessing`.

    Args:
        pixels: stored pixels, uint8 or float32, channels first; `StreamedPixels` for a ``Dataset``.
        y: integer labels, vectors of floats as conditions, or None.
        preprocessing: the map from ``pixels`` to a model's input.
        seed: seed of the noise of `x`.
        dtype: type of a model's input, float32 or float64.

    Shapes:
        pixels, x: ``(N, *event_shape)``; y: ``(N,)`` or ``(N, F)``.

    Example:
        >>> split = Split(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), None, Preprocessing(), seed=0)
        >>> len(split), bool((split.x == split.x).all())
        (5, True)
    """

    pixels: Tensor | StreamedPixels = field(repr=False)
    y: Tensor | None = field(repr=False)
    preprocessing: Preprocessing
    seed: int
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def x(self) -> Tensor:
        """The preprocessed split, with one draw of the noise, the same at each access and on any device.

        Test metrics are computed on it. It is not cached.
        """
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.empty(self.pixels.shape, dtype=self.dtype, device=self.pixels.device)
        for start in range(0, len(self), CHUNK):
            rows = slice(start, start + CHUNK)
            x[rows] = self.preprocessing(self.pixels[rows].cpu(), generator)
        return x

    def given(self, names: Iterable[str]) -> Given:
        """The inputs beside x of these names, for a model that takes them.

        Raises:
            InputError: If the split does not have one of them.
        """
        found = {name: getattr(self, name) for name in names}
        for name, value in found.items():
            if value is None:
                raise InputError(
                    f"the model takes {name} beside x, but the data have no {name}: give {name}_train to "
                    f"Data.from_arrays, and {name}_valid and {name}_test with splits of their own"
                )
        return Given(found)

    @property
    def labeled(self) -> Split:
        """The examples of which every label is known; the split itself if that are all, or none has any."""
        if self.y is None or (known := (self.y >= 0).reshape(len(self), -1).all(1)).all():
            return self
        return replace(self, pixels=self.pixels[known.nonzero().squeeze(1)], y=self.y[known])

    @property
    def mask(self) -> Tensor | None:
        """Whether each value of `Split.x` was seen; None if nothing is missing."""
        return ~is_missing(self.pixels[:]) if self.preprocessing.missing else None

    def preprocess(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Preprocess a training batch taken from ``pixels``, with fresh noise."""
        return self.preprocessing(pixels, generator).to(self.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Split:
        """The same split with its tensors on another device, for a model of this type."""
        labels = None if self.y is None else self.y.to(device)
        return replace(self, pixels=self.pixels.to(device), y=labels, dtype=dtype)


def evenly_spaced(size: int, count: int) -> Tensor:
    """Indices of at most ``count`` of ``size`` data, evenly spaced, since the first of a file may be of one class.

    Example:
        >>> evenly_spaced(10, 4), evenly_spaced(3, 4)
        (tensor([0, 2, 5, 7]), tensor([0, 1, 2]))
    """
    count = min(size, count)
    return torch.arange(count) * size // count


def per_pixel_mean(split: Split) -> Tensor:
    """Mean of `Split.x` over the examples in which a pixel was seen, ``event_shape``, in chunks that bound the memory.

    Example:
        >>> per_pixel_mean(Split(torch.tensor([[0.0, 0.5], [1.0, 0.5]]), None, Preprocessing(), seed=0))
        tensor([0.5000, 0.5000])
    """
    generator = torch.Generator().manual_seed(split.seed)
    total, count = torch.zeros(2, *split.pixels.shape[1:], dtype=torch.float64)
    for start in range(0, len(split), CHUNK):
        chunk = split.pixels[start : start + CHUNK].cpu()
        x = split.preprocessing(chunk, generator)
        total += x.nansum(0, dtype=torch.float64)
        count += (~x.isnan()).sum(0)
    return (total / count).to(torch.float32)
