"""One split of a data set and how its pixels become what a model sees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_vaes.data.preprocess import Preprocessing
from pyro_vaes.data.streaming import StreamedPixels

CHUNK = 4096  # images prepared at a time by `Split.x`: bounds the memory that the noise takes


@dataclass(frozen=True, eq=False)
class Split:
    """Images as they are stored, their labels, and their `Preprocessing`.

    Args:
        pixels: stored pixels, uint8 or float32, channels first; those of a ``Dataset`` where they are.
        y: integer labels, or None.
        preprocessing: how ``pixels`` becomes what a model sees.
        seed: fixes the noise of `x`.

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

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def x(self) -> Tensor:
        """The split as a model sees it, with one draw of the noise, the same at each reading on any device.

        Figures of a test split are to be computed on this. It is computed at each reading, float32.
        """
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.empty(self.pixels.shape, dtype=torch.float32, device=self.pixels.device)
        for start in range(0, len(self), CHUNK):
            rows = slice(start, start + CHUNK)
            x[rows] = self.preprocessing(self.pixels[rows].cpu(), generator)
        return x

    def preprocess(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Preprocess a training batch taken from ``pixels``, with fresh noise."""
        return self.preprocessing(pixels, generator)

    def to(self, device: torch.device | str) -> Split:
        """The same split with its tensors on another device."""
        return replace(self, pixels=self.pixels.to(device), y=None if self.y is None else self.y.to(device))
