"""The plate of a batch, in which models and guides sample their sites."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import pyro
from torch import Tensor, nn

from pyro_vaes.given import Given, bind
from pyro_vaes.missing import seen
from pyro_vaes.param_store import register_params

Owner = TypeVar("Owner", bound=nn.Module)


@contextlib.contextmanager
def batch_plate(
    owner: Owner, model: Any, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None
) -> Iterator[tuple[Owner, Tensor]]:
    """Context manager with the plate ``data`` of a batch, for the forward pass of a model or a guide.

    Gives the owner bound to y, and x with NaN where it was not seen.

    Args:
        owner: the model or the guide, whose parameters are registered in Pyro's store.
        model: the model, whose shape of data x must have.
        x: the batch, ``(B, *event_shape)``.
        y: the input beside x, if there is one.
        mask: True where x was seen; None for x as it is.

    Raises:
        InputError: If x or the mask has another shape.

    Example:
        >>> with batch_plate(guide, vae, x) as (bound, x):
        ...     pyro.sample("z", bound.posterior(x)).shape
        torch.Size([4, 2])
    """
    register_params(owner)
    model.check_event_shape(x.shape[1:])
    with seen(x, mask) as x, pyro.plate("data", len(x)):
        yield (owner if y is None else bind(owner, Given(y=y))), x
