"""What inference costs."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.evaluate.posterior_means import posterior_means


@torch.no_grad()
def inference_ms(guide: nn.Module, x: Tensor, repeats: int = 5) -> float:
    """Milliseconds to infer the posteriors of a batch and draw from each: the median.

    Args:
        guide: the guide; of one without a ``posterior`` it is the means that are timed, or draws where there are none.
        x: the batch.
        repeats: number of measurements.

    Example:
        >>> inference_ms(guide, x) > 0
        True
    """
    x = x.to(next(guide.parameters()).device)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _draw(guide, x)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _draw(guide: Any, x: Tensor) -> None:
    if hasattr(guide, "posterior"):
        drawn = guide.posterior(x).sample()
    else:
        drawn = torch.cat([*posterior_means(guide, x).values()], -1)
    drawn.sum().item()  # which waits for the device
