"""The gradient step as one CUDA graph: the GPU repeats it without Python."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.training.pair import unchanged_buffers
from pyro_vaes.training.step import CannotCompile, EagerStep, check_repeatable, same_draws

WARM_UP = 3  # steps before the recording, in which libraries get their workspaces


class GraphStep(EagerStep):
    """The step of :class:`EagerStep`, recorded as a CUDA graph: forward, backward and optimizer are one launch.

    Its draws go on from torch's generator as eager ones do, and schedules of the loss and of the learning rate are read
    from tensors that are filled before every step. A batch of another size, such as an epoch's last, is taken eagerly,
    and so is every step in which the guide warms up, and the first one of a new optimizer, whose state has to be there
    before it is recorded. Optimizers that torch cannot record, which are not ``capturable``, take their step after the
    launch.

    Its arguments are those of :class:`EagerStep`.
    """

    batch: tuple[Tensor, ...] | None = None
    replay: Callable[[], None] | None = None
    gradients: Sequence[Tensor | None] = ()
    records_optimizer = False

    def __call__(self, *batch: Tensor) -> Tensor:
        """Take one step on a batch; returns the sums over it of objective and terms, in the order of ``names``."""
        if self.warming_up or self.batch is None or batch[0].shape != self.batch[0].shape:
            return super().__call__(*batch)
        if self.replay is None:
            sums = super().__call__(*batch)
            self._record(*batch)
            return sums
        for place, value in zip(self.batch, batch, strict=True):
            place.copy_(value)
        self.schedule_input.copy_(self.schedule(batch[0]))
        self.set_lr()
        self.replay()
        if not self.records_optimizer:
            for weight, gradient in zip(self.weights, self.gradients, strict=True):
                weight.grad = gradient
            self.optimizer.step()
        self.finish()
        return self.sums.clone()

    def prepare_for(self, *batch: Tensor) -> None:
        """Record the step on batches such as this one; weights, optimizer and generators stay as they are.

        Raises:
            CannotCompile: If there is no GPU, or the loss does what a graph cannot repeat.
        """
        check_repeatable(self.loss)
        if self.group.size > 1:
            raise CannotCompile("several processes sum their gradients in the middle of a step")
        groups = self.optimizer.param_groups
        self.records_optimizer = all(group.get("capturable") for group in groups)
        if self.records_optimizer and self.lr_schedule is not None:
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=batch[0].device)
        self._record(*batch)

    def restart(self, weights: Collection[Tensor]) -> None:
        """Start moments and average of some weights again; the graph has the addresses of the moments before."""
        super().restart(weights)
        self.replay = None

    def _record(self, x: Tensor, *given: Tensor) -> None:
        """Record the step, and take its effect back; without a state of the optimizer this is a trial."""
        batch, self.schedule_input = tuple(each.clone() for each in (x, *given)), self.schedule(x)

        def advance() -> list[Tensor | None]:
            with self.loss.with_schedule(self.schedule_input):
                sums = self.differentiate(*batch)
            self.clip()
            if self.records_optimizer:
                self.optimizer.step()
            return [sums, *(weight.grad for weight in self.weights)]

        with same_draws(x), unchanged_buffers(self.model, self.guide), self._unchanged() as new:
            replay, (self.sums, *self.gradients) = record(advance, x.device)
        self.batch, self.replay = batch, None if new else replay

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[list[Tensor]]:
        """Context manager that takes back the steps taken inside, in place where there was something before.

        It gives the weights of which the optimizer knew nothing; a graph keeps the addresses of the rest.
        """
        values, state = [weight.detach().clone() for weight in self.weights], self.optimizer.state
        known = {
            weight: {name: value.clone() for name, value in moments.items() if isinstance(value, Tensor)}
            for weight, moments in state.items()
            if moments
        }
        new: list[Tensor] = []
        try:
            yield new
        finally:
            new += [weight for weight in state if weight not in known]
            for weight in new:
                del state[weight]
            with torch.no_grad():
                torch._foreach_copy_(list[Tensor](self.weights), values)
                for weight, moments in known.items():
                    for name, value in moments.items():
                        state[weight][name].copy_(value)


def record(work: Callable[[], list[Any]], device: torch.device) -> tuple[Callable[[], None], list[Any]]:
    """Run some work a few times, then record it; returns a function that repeats it, and the tensors of its result.

    Raises:
        CannotCompile: If there is no GPU, or the work waits for it or for the host.
    """
    if device.type != "cuda":
        raise CannotCompile("CUDA graphs need a GPU")
    graph, aside, here = torch.cuda.CUDAGraph(), torch.cuda.Stream(device), torch.cuda.current_stream(device)
    try:
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                work()
        here.wait_stream(aside)
        with torch.cuda.graph(graph):
            result = work()
    except RuntimeError as error:
        raise CannotCompile(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    return graph.replay, result
