"""Time of inference."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.evaluate.posterior_means import posterior_means
from pyro_vaes.vae import Guide


@torch.no_grad()
def inference_ms(
    guide: nn.Module, x: Tensor, repeats: int = 5, *, y: Tensor | None = None, mask: Tensor | None = None
) -> float:
    """Median time in milliseconds to infer the posteriors of a batch and to draw from each.

    Args:
        guide: the guide; of one that is no ``Guide`` the posterior means are timed.
        x: the batch.
        repeats: number of measurements.
        y: labels or conditions of x, ``(B, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape.

    Example:
        >>> inference_ms(guide, x) > 0
        True
    """
    (x, guide), times = as_inputs(x, y, guide, mask=mask), []
    with evaluating(guide, x=x):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            _draw(guide, x)
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _draw(guide: Any, x: Tensor) -> None:
    if isinstance(guide, Guide):
        drawn = [q.sample() for q in guide.posteriors(x).values()]
    else:
        drawn = list(posterior_means(guide, x).values())
    torch.cat(drawn, -1).sum().item()  # which waits for the device
