"""Log importance weights of any model/guide pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.evaluate.inputs import as_inputs, evaluating
from pyro_vaes.given import split
from pyro_vaes.traces import paired_traces, sample_sites, total
from pyro_vaes.validation import check_whole

CHUNK_VALUES = 2**21  # maximum number of values of x in one pass: 8 MiB in float32, which fits into caches


def log_weights(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    num_samples: int,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Log importance weights, log p(x, z) - log q(z | x) with z ~ q(z | x).

    They are computed from traces, for any pair of a Pyro model and guide. Memory is bounded by processing few
    observations at a time with all their samples, which share the guide's computations per observation.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per datum.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the weights are then those of p(x_seen, z).

    Returns:
        The weights in nats, shape ``(S, N)``.

    Example:
        >>> import pyro_vaes as pv
        >>> log_weights(vae, pv.guides.MeanField(vae, encoder), x, num_samples=5).shape
        torch.Size([5, 4])
    """
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    return torch.cat(list(chunks(model, guide, x, num_samples)), 1)


def chunks(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, num_samples: int) -> Iterator[Tensor]:
    """The columns of :func:`log_weights`, few observations at a time.

    Raises:
        InputError: If the number of samples is below 1.
    """
    check_whole("num_samples", num_samples)
    width = x[0].numel()
    data = max(1, CHUNK_VALUES // (width * num_samples))
    samples = min(num_samples, max(1, CHUNK_VALUES // (width * data)))
    for batch, view, start in split(data, x, model, guide):
        counts = [min(samples, num_samples - start) for start in range(0, num_samples, samples)]
        yield torch.cat([_log_weights(view, start, batch, count) for count in counts])


@torch.no_grad()
def _log_weights(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, num_samples: int) -> Tensor:
    with evaluating(model, guide, x=x):
        model_trace, guide_trace = paired_traces(model, guide, x, num_particles=num_samples)
    log_p = total(site["log_prob"] for site in sample_sites(model_trace).values())
    log_q = total(site["log_prob"] for site in sample_sites(guide_trace).values())
    return (log_p - log_q).reshape(num_samples, len(x))
