"""Base class of objectives: a per-datum objective with named parts, usable in stock ``SVI`` and in ``fit``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pyro import infer
from torch import Tensor

from pyro_vaes.missing import seen
from pyro_vaes.traces import paired_traces
from pyro_vaes.validation import check_whole

Pair = Callable[..., Any]
Terms = dict[str, Tensor]


class Loss(infer.ELBO):
    """Base class of objectives. A new one implements :meth:`objective` and nothing else.

    The loss that is minimized is minus the objective, summed over the batch as Pyro does. Nothing here makes
    the host wait for the device.

    Args:
        num_particles: number S of draws a datum, all in one pass.

    Attributes:
        step: number of gradient steps taken, which schedules read. ``SVI`` and ``fit`` advance it.
        traceable: whether the objective depends on the step through :meth:`schedule` alone and changes nothing, so
            that a step can be traced once and repeated.
        couples_batch: whether the objective of a datum depends on the others of its batch, so that no batch can be cut.

    Shapes:
        ``x (B, *event_shape)``; the objective and each of the ``terms`` ``(B,)``, in nats.
    """

    traceable: bool = True
    couples_batch: bool = False

    def __init__(self, num_particles: int = 1) -> None:
        check_whole("num_particles", num_particles)
        super().__init__(num_particles=num_particles, vectorize_particles=True, max_plate_nesting=1)
        self.num_steps = 0
        self._schedule_input: Tensor | None = None

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """The objective to maximize, and its named parts, each of shape ``(B,)`` and in nats."""
        raise NotImplementedError(f"{type(self).__name__} must implement objective(model, guide, x)")

    def schedule(self) -> tuple[float, ...]:
        """The numbers that the objective takes from the step, given by :meth:`schedule_values`; by default none."""
        return ()

    def schedule_values(self) -> tuple[Any, ...]:
        """The schedule at this step, or in its place the tensors of :meth:`with_schedule`."""
        return self.schedule() if self._schedule_input is None else tuple(self._schedule_input.unbind())

    @contextlib.contextmanager
    def with_schedule(self, values: Tensor) -> Iterator[None]:
        """Context manager that sets the schedule to these numbers, ``(n,)``, an input of a traced step."""
        self._schedule_input = values
        try:
            yield
        finally:
            self._schedule_input = None

    def terms(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> Terms:
        """The named parts of the objective, each of shape ``(B,)`` and in nats."""
        return self.objective(model, guide, x, *args)[1]

    def evidence_bound(self, terms: Mapping[str, Any]) -> Any:
        """The lower bound of log p(x) by which a training is judged, from its terms; by default the ELBO."""
        return terms["reconstruction"] - terms["kl"]

    def state_dict(self) -> dict[str, Tensor]:
        """The state on which the next step depends beside ``num_steps``, for a checkpoint; empty for most."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave."""

    def differentiable_loss(
        self, model: Pair, guide: Pair, x: Tensor, y: Any = None, mask: Tensor | None = None
    ) -> Tensor:
        """Minus the objective, summed over the batch; a scalar with gradients.

        Args:
            model: the model, called with x and, if there is one, y.
            guide: its guide, called with the same.
            x: the batch.
            y: labels or conditions, or what else a pair of one's own takes beside x.
            mask: True where x was seen; None for all.
        """
        with seen(x, mask) as x:
            return -self.objective(model, guide, x, *([] if y is None else [y]))[0].sum()

    def _get_trace(self, model: Pair, guide: Pair, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Abstract in Pyro's class."""
        return paired_traces(model, guide, *args, num_particles=self.num_particles, **kwargs)

    def loss_and_grads(self, model: Pair, guide: Pair, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, its gradients accumulated; what ``SVI.step`` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        self.num_steps += 1
        return loss.detach()

    @torch.no_grad()
    def loss(self, model: Pair, guide: Pair, *args: Any, **kwargs: Any) -> float:
        """The loss as a number; what ``SVI.evaluate_loss`` calls."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()
