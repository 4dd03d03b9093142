"""One split of a data set and how its pixels become what a model sees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_vaes.data.preprocess import Preparation
from pyro_vaes.data.streaming import StreamedPixels

CHUNK = 4096  # images prepared at a time by `Split.x`: bounds the memory that the noise takes


@dataclass(frozen=True, eq=False)
class Split:
    """Images as they are stored, their labels, and their `Preparation`.

    Args:
        raw: stored pixels, uint8 or float32, channels first; those of a ``Dataset`` where they are.
        y: integer labels, or None.
        preparation: how ``raw`` becomes what a model sees.
        seed: fixes the noise of `x`.

    Shapes:
        raw, x: ``(N, *event_shape)``; y: ``(N,)`` or ``(N, F)``.

    Example:
        >>> split = Split(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), None, Preparation(), seed=0)
        >>> len(split), bool((split.x == split.x).all())
        (5, True)
    """

    raw: Tensor | StreamedPixels = field(repr=False)
    y: Tensor | None = field(repr=False)
    preparation: Preparation
    seed: int

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def x(self) -> Tensor:
        """The split as a model sees it, with one draw of the noise, the same at each reading on any device.

        Figures of a test split are to be computed on this. It is computed at each reading, float32.
        """
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.empty(self.raw.shape, dtype=torch.float32, device=self.raw.device)
        for start in range(0, len(self), CHUNK):
            rows = slice(start, start + CHUNK)
            x[rows] = self.preparation(self.raw[rows].cpu(), generator)
        return x

    def prepare(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Prepares a training batch taken from ``raw``, with fresh noise."""
        return self.preparation(raw, generator)

    def to(self, device: torch.device | str) -> Split:
        """The same split with its tensors on another device."""
        return replace(self, raw=self.raw.to(device), y=None if self.y is None else self.y.to(device))
