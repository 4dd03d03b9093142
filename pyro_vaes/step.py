"""One gradient step, and the average of the weights that the steps pass through."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Loss

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamax": partial(torch.optim.Adamax, foreach=True),
}


class Average:
    """Exponential moving average of weights.

    It starts at the weights that are there, and after step t = 1, 2, … it is::

        average ← d · average + (1 - d) · weights,      d = min(decay, (1 + t) / (10 + t))

    so that the first weights are forgotten after a few steps, however near 1 the decay is.

    Args:
        weights: what is averaged, each once.
        decay: the largest d, between 0 and 1.

    Attributes:
        values: the averages, where the weights are.

    References:
        Adam: A Method for Stochastic Optimization (Kingma, Ba, 2015), section on temporal averaging.

    Example:
        >>> weights = [torch.zeros(1)]
        >>> average = Average(weights, decay=0.998)
        >>> _ = weights[0].fill_(11)
        >>> average.update(1)
        >>> with average.applied():
        ...     print(weights[0].item())
        9.0
        >>> weights[0].item()
        11.0
    """

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        self.weights, self.decay = list(weights), decay
        self.values = [each.detach().clone() for each in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.weights, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the averages are in place of the weights, which are back, to the bit, at its end."""
        raw = [each.detach().clone() for each in self.weights]
        try:
            _copy(self.values, self.weights)
            yield
        finally:
            _copy(raw, self.weights)


@torch.no_grad()
def _copy(values: list[Tensor], to: list[Tensor]) -> None:
    torch._foreach_copy_(to, values)


class EagerStep:
    """Forward, backward and optimiser, operation by operation; the host never waits for the device.

    Args:
        model: the Pyro model.
        guide: its guide.
        loss: the objective.
        lr: the optimiser's learning rate.
        optimizer: ``"adam"`` or ``"adamax"``.
        ema: decay of the weights' moving average; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        loss: Loss,
        lr: float,
        optimizer: str = "adam",
        ema: float | None = None,
    ) -> None:
        self.model, self.guide, self.loss, self.kind = model, guide, loss, optimizer
        weights = {id(p): p for module in (model, guide) for p in module.parameters() if p.requires_grad}
        self.weights = list(weights.values())
        self.optimizer = OPTIMIZERS[optimizer](self.weights, lr=lr)
        self.average = None if ema is None else Average(self.weights, ema)
        self.names: list[str] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Take one step on a batch; gives the sums over it of objective and terms, in the order of ``names``."""
        sums = self.differentiate(x)
        self.optimizer.step()
        self.loss.step += 1
        if self.average is not None:
            self.average.update(self.loss.step)
        return sums

    def capture(self, x: Tensor) -> None:
        """Get ready for batches such as this one; here nothing has to be done."""

    def differentiate(self, x: Tensor) -> Tensor:
        """Set the gradients of all weights; gives the sums over the batch of objective and terms."""
        self.optimizer.zero_grad(set_to_none=True)
        objective, terms = self.loss.objective(self.model, self.guide, x)
        (-objective.mean()).backward()
        self.names = ["objective", *terms]
        return torch.stack([value.detach().sum() for value in (objective, *terms.values())])

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it model and guide have their averaged weights; without an average, those that they have."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside the weights."""
        state = {"kind": self.kind, "optimizer": self.optimizer.state_dict(), "step": self.loss.step}
        return state if self.average is None else state | {"average": [each.cpu() for each in self.average.values]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            InputError: where the state is that of a step of another kind.
        """
        kind = state.get("kind", "adam")
        if kind != self.kind:
            raise InputError(f"the checkpoint's optimizer is {kind}, here it is {self.kind}: give optimizer={kind!r}")
        if ("average" in state) != (self.average is not None):
            has, give = ("has", "with the ema of its config.yaml") if "average" in state else ("has no", "without ema")
            raise InputError(f"the checkpoint {has} averaged weights: resume it {give}")
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise InputError(f"the checkpoint's optimizer trains other parameters: {error}") from error
        if self.average is not None:
            _copy(state["average"], self.average.values)
        self.loss.step = state["step"]
