"""Draws that overflow, as those of a trained flow may, seldom, far out in its tails."""

from __future__ import annotations

from torch import Tensor


def without_overflow(z: Tensor) -> tuple[Tensor, Tensor]:
    """The draws ``(..., Z)`` with 0 in place of those that overflowed, and which these are, ``(...)``.

    Example:
        >>> without_overflow(torch.tensor([[1.0, 2.0], [3.0, torch.inf]]))
        (tensor([[1., 2.],
                [0., 0.]]), tensor([False,  True]))
    """
    overflowed = ~z.isfinite().all(-1)
    return z.masked_fill(overflowed.unsqueeze(-1), 0.0), overflowed
