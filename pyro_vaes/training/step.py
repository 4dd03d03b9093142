"""One gradient step, and the average of the weights that the steps pass through."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from pyro_vaes.errors import InputError
from pyro_vaes.given import Given, bind
from pyro_vaes.losses.base import Loss
from pyro_vaes.training.distributed import ProcessGroup
from pyro_vaes.training.ema import Average
from pyro_vaes.training.optimizers import OptimizerFactory, build_optimizer, shapes, state_shapes
from pyro_vaes.training.precision import PRECISIONS
from pyro_vaes.validation import check_whole


class CannotCompile(Exception):
    """A step that cannot be compiled, or recorded once and repeated."""


class EagerStep:
    """Forward, backward and optimizer, operation by operation; the host never waits for the device.

    Args:
        model: the Pyro model.
        guide: its guide.
        loss: the objective.
        lr: the optimizer's learning rate.
        optimizer: name of an optimizer with options, or a function that takes the weights and ``lr``.
        ema: decay of the weights' moving average; None for none.
        precision: ``"float32"``, or ``"bfloat16"`` for the layers of networks.
        lr_schedule: factor of the learning rate at a gradient step, counted from 0; None for 1.
        clip_norm: largest Euclidean norm of the gradients of all weights together; None for no clipping. On the
            Difficulty of Training Recurrent Neural Networks (Pascanu, Mikolov, Bengio, 2013).

    Attributes:
        given: names of the inputs beside x that model and guide take; a batch has them after x; none at first.
        group: the processes that take the step together, each on its part of the batch; one at first.
        warmup: number of the first steps in which the guide warms up, see :class:`pyro_vaes.vae.Guide`; 0 at first.
        remark: what the log says of the step beside its kind, once it is prepared.
    """

    remark = ""

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        loss: Loss,
        lr: float,
        optimizer: str | OptimizerFactory = "adam",
        ema: float | None = None,
        precision: str = "float32",
        lr_schedule: Callable[[int], float] | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.model, self.guide, self.loss, self.clip_norm = model, guide, loss, clip_norm
        weights = {id(p): p for module in (model, guide) for p in module.parameters() if p.requires_grad}
        self.weights = list(weights.values())
        self.precision = PRECISIONS[precision]
        self.new_optimizer = partial(build_optimizer, optimizer, self.weights, lr)
        self.optimizer = self.new_optimizer()
        self.lr_schedule, self.lrs = lr_schedule, [group["lr"] for group in self.optimizer.param_groups]
        self.average = None if ema is None else Average(self.weights, ema)
        self.names: list[str] = []
        self.given: tuple[str, ...] = ()
        self.group = ProcessGroup()
        self.warmup = 0

    @property
    def warming_up(self) -> bool:
        """Whether the guide warms up at this step."""
        return self.loss.num_steps < self.warmup

    def __call__(self, *batch: Tensor) -> Tensor:
        """Take one step on a batch; returns the sums over it of objective and terms, in the order of ``names``."""
        with self._progress():
            sums = self.group.all_reduce_gradients(self.weights, self.differentiate(*batch))
        self.clip()
        self.set_lr()
        self.optimizer.step()
        self.finish()
        return sums

    def clip(self) -> None:
        """Clip the gradients of all weights together, if they are to be clipped; the host waits for nothing."""
        if self.clip_norm is not None:
            clip_grad_norm_(self.weights, self.clip_norm)

    def set_lr(self) -> None:
        """Set the learning rates of this step as scheduled, in place where they are tensors, which a graph reads."""
        if self.lr_schedule is None:
            return
        factor = self.lr_schedule(self.loss.num_steps)
        for group, lr in zip(self.optimizer.param_groups, self.lrs, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(factor * lr)
            else:
                group["lr"] = factor * lr

    def finish(self) -> None:
        """Count a step after the optimizer, and update the average; both forget the guide's warm-up when it is over."""
        self.loss.num_steps += 1
        if self.average is not None:
            self.average.update(self.loss.num_steps)
        if self.loss.num_steps == self.warmup and getattr(self.guide, "restarts", True):
            self.restart(self.weights)

    def prepare_for(self, *batch: Tensor) -> None:
        """Prepare for batches of this shape; an eager step needs nothing."""

    def bound(self, *given: Tensor) -> tuple[nn.Module, nn.Module]:
        """Model and guide, bound to a batch's inputs beside x."""
        named = Given(zip(self.given, given, strict=True))
        return bind(self.model, named), bind(self.guide, named)

    def differentiate(self, x: Tensor, *given: Tensor) -> Tensor:
        """Set the gradients of all weights; returns the sums over the batch of objective and terms."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            objective, terms = self.loss.objective(*self.bound(*given), x)
        (-objective.mean()).backward()
        self.names = ["objective", *terms]
        return torch.stack([value.detach().sum() for value in (objective, *terms.values())])

    def schedule(self, like: Tensor) -> Tensor:
        """The loss's schedule at this step, for a recorded one to read; the copy to a device waits for nothing."""
        return torch.tensor(self.loss.schedule(), dtype=like.dtype).to(like.device, non_blocking=True)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Context manager in which model and guide have their averaged weights, if there is an average."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next step depends beside the weights."""
        kind, numbers = type(self.optimizer).__name__.lower(), {"step": self.loss.num_steps, "warmup": self.warmup}
        state = {"kind": kind, "optimizer": self.optimizer.state_dict(), **numbers}
        return state if self.average is None else state | self.average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave, with the learning rate and the other options of this step.

        Raises:
            InputError: If the state is that of a step of another kind.
        """
        there, here = state.get("kind", "adam"), type(self.optimizer).__name__.lower()
        if there != here:
            raise InputError(f"the checkpoint's optimizer is {there}, here it is {here}: give optimizer={there!r}")
        if ("average" in state) != (self.average is not None):
            has, give = ("has", "with the ema of its config.yaml") if "average" in state else ("has no", "without ema")
            raise InputError(f"the checkpoint {has} averaged weights: resume it {give}")
        groups, saved = self.optimizer.state_dict()["param_groups"], state["optimizer"]
        if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in groups]:
            raise InputError("the checkpoint's optimizer trains another number of parameters than this one")
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
        expected = state_shapes(self.new_optimizer(), self.weights)
        if any(shapes(moments) != expected.get(weight) for weight, moments in self.optimizer.state.items()):
            raise InputError("the checkpoint's optimizer has other moments than this one: give the options it had")
        if self.average is not None:
            self.average.load_state_dict(state)
        self.loss.num_steps = check_whole("the checkpoint's step", state["step"], least=0)
        self.warmup = check_whole("the checkpoint's warmup", state["warmup"], least=0)

    @torch.no_grad()
    def restart(self, weights: Collection[Tensor]) -> None:
        """Start the optimizer's moments and the average of some weights again, from their present values."""
        state = self.new_optimizer().state
        for weight in weights:
            self.optimizer.state.pop(weight, None)
            if weight in state:  # of optimizers that do not wait for their first step
                self.optimizer.state[weight] = state[weight]
        if self.average is not None:
            self.average.restart(weights, self.loss.num_steps)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[None]:
        """Context manager in which the guide is at this step of its warm-up, if it warms up."""
        if not self.warming_up:
            yield
            return
        guide: Any = self.guide
        guide.progress = self.loss.num_steps / self.warmup
        try:
            yield
        finally:
            guide.progress = 1.0


@contextlib.contextmanager
def same_draws(x: Tensor) -> Iterator[None]:
    """Context manager whose draws are repeated after it."""
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        yield


def check_repeatable(loss: Loss) -> None:
    """Refuse to record a loss whose next step is another function of its inputs.

    Raises:
        CannotCompile: If the loss has a state of its own.
    """
    if not loss.traceable:
        raise CannotCompile(f"{type(loss).__name__} keeps a state of its own from step to step")
