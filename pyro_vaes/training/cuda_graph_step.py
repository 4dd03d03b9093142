"""The gradient step as one CUDA graph: the GPU repeats it without Python."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pyro_vaes.training.step import CannotCompile, EagerStep, check_repeatable, same_draws

WARM_UP = 3  # steps before the recording, in which libraries get their workspaces


class GraphStep(EagerStep):
    """The step of :class:`EagerStep`, recorded as a CUDA graph: forward, backward and optimizer are one launch.

    Its draws go on from torch's generator as eager ones do, and a schedule of the loss is read from a tensor that is
    filled before every step. A batch of another size, such as an epoch's last, is taken eagerly, and so is every step
    in which the guide warms up.

    Its arguments are those of :class:`EagerStep`.
    """

    batch: Tensor | None = None
    replay: Callable[[], None]

    def __call__(self, x: Tensor) -> Tensor:
        """Take one step on a batch; returns the sums over it of objective and terms, in the order of ``names``."""
        if self.warming_up or self.batch is None or x.shape != self.batch.shape:
            return super().__call__(x)
        self.batch.copy_(x)
        self.schedule_input.copy_(self.schedule(x))
        self.replay()
        self.finish()
        return self.sums.clone()

    def prepare_for(self, x: Tensor) -> None:
        """Record the step on batches such as this one; weights, optimizer and generators stay as they are.

        Raises:
            CannotCompile: If there is no GPU, or the loss does what a graph cannot repeat.
        """
        check_repeatable(self.loss)
        if self.group.size > 1:
            raise CannotCompile("several processes sum their gradients in the middle of a step")
        batch, self.schedule_input = x.clone(), self.schedule(x)

        def advance() -> Tensor:
            with self.loss.with_schedule(self.schedule_input):
                sums = self.differentiate(batch)
            self.optimizer.step()
            return sums

        with same_draws(x), self._unchanged():
            self.replay, self.sums = record(advance, x.device)
        self.batch = batch

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Context manager that takes back, in place, the steps taken inside: the graph keeps addresses."""
        values = [weight.detach().clone() for weight in self.weights]
        known = {
            weight: {name: value.clone() for name, value in state.items()}
            for weight, state in self.optimizer.state.items()
        }
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list[Tensor](self.weights), values)
                for weight, state in self.optimizer.state.items():
                    for name, value in state.items():  # both optimizers start from zeros
                        value.copy_(known[weight][name] if weight in known else torch.zeros_like(value))


def record(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Run some work a few times, then record it; returns a function that repeats it, and the tensor of its result.

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
