"""What inference costs."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from pyro_vaes.vae import Guide


@torch.no_grad()
def inference_ms(guide: Guide, x: Tensor, repeats: int = 5) -> float:
    """Milliseconds to infer the posteriors of a batch and draw from each: the median.

    Args:
        guide: the guide.
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
        guide.posterior(x).sample().sum().item()  # .item() waits for the device
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])
