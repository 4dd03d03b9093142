"""The gradient step as one CUDA graph: the GPU repeats what it was told once, and Python no longer takes part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from pyro_vaes.step import EagerStep, NotCaptured, check_repeatable, same_draws

WARM_UP = 3  # steps before the recording, in which libraries get their workspaces


class GraphStep(EagerStep):
    """The step of :class:`EagerStep`, recorded as a CUDA graph: forward, backward and optimiser are one launch.

    Its draws go on from torch's generator as eager ones do, and a schedule of the loss is read from a tensor that is
    filled before every step. A batch of another size, such as an epoch's last, is taken eagerly.

    Its arguments are those of :class:`EagerStep`.
    """

    batch: Tensor | None = None
    graph: torch.cuda.CUDAGraph

    def __call__(self, x: Tensor) -> Tensor:
        """Take one step on a batch; gives the sums over it of objective and terms, in the order of ``names``."""
        if self.batch is None or x.shape != self.batch.shape:
            return super().__call__(x)
        self.batch.copy_(x)
        self.scheduled.copy_(self.schedule(x))
        self.graph.replay()
        self.finish()
        return self.sums.clone()

    def capture(self, x: Tensor) -> None:
        """Record the step on batches such as this one; weights, optimiser and generators stay as they are.

        Raises:
            NotCaptured: without a GPU, or where the loss does what a graph cannot repeat.
        """
        check_repeatable(self.loss)
        if not x.is_cuda:
            raise NotCaptured("CUDA graphs need a GPU")
        if self.ranks.size > 1:
            raise NotCaptured("several processes sum their gradients in the middle of a step")
        batch, self.scheduled, graph = x.clone(), self.schedule(x), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(x.device)
        try:
            with same_draws(x), self._unchanged():
                stream.wait_stream(torch.cuda.current_stream(x.device))
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UP):
                        self._advance(batch)
                torch.cuda.current_stream(x.device).wait_stream(stream)
                with torch.cuda.graph(graph):
                    self.sums = self._advance(batch)
        except RuntimeError as error:
            raise NotCaptured(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
        self.batch, self.graph = batch, graph

    def _advance(self, batch: Tensor) -> Tensor:
        with self.loss.fed(self.scheduled):
            sums = self.differentiate(batch)
        self.optimizer.step()
        return sums

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Within it steps may be taken that are taken back at its end, in place: the graph keeps addresses."""
        known = {weight: dict(state) for weight, state in self.optimizer.state.items()}
        values = [weight.detach().clone() for weight in self.weights]
        states = {weight: {name: value.clone() for name, value in state.items()} for weight, state in known.items()}
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list[Tensor](self.weights), values)
                for weight, state in self.optimizer.state.items():
                    for name, value in state.items():  # both optimisers start from zeros
                        value.copy_(states[weight][name] if weight in states else torch.zeros_like(value))
