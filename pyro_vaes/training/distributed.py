"""Training by several processes: each takes a part of every batch, and all of them take the same step.

``torchrun`` starts the processes, :func:`process_group` finds them. Their gradients are summed in one flat buffer, one
plain all-reduce per step. ``DistributedDataParallel`` does not serve: its hooks run in the forward pass of one module,
while a loss runs Pyro's handlers over model and guide and calls parts of both, and do not fire where a graph sets the
gradients; and of shards of unequal sizes it averages the means.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyro_vaes.errors import InputError

T = TypeVar("T")


ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells a process


TIMEOUT = timedelta(minutes=10)  # after which a process that does not answer is given up


POLL_EVERY = 8  # steps between two questions to the others whether one of them was told to stop


SEED_STRIDE = (
    2_654_435_761  # odd: its multiples differ in the low 32 bits, all that the CPU's generator takes of a seed
)


class ProcessLost(ConnectionError):
    """Another process of this training is gone; what was saved before is whole."""


class ProcessGroup:
    """The processes that train together; without a group this one alone, for which nothing here does anything.

    Args:
        host: a group of all processes for tensors and objects in the host's memory.

    Attributes:
        rank: the place of this process among them, from 0.
        size: how many they are.
        share: the part of the rows that are worked on which this process has.

    Example:
        >>> alone = ProcessGroup()
        >>> alone.shard(torch.arange(3)), alone.gather("here"), alone.seed(5)
        (tensor([0, 1, 2]), ['here'], 5)
    """

    def __init__(self, host: dist.ProcessGroup | None = None) -> None:
        self.host = host
        self.rank, self.size = (0, 1) if host is None else (dist.get_rank(), dist.get_world_size())
        self.share = 1.0
        self.interrupted = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def seed(self, common: int) -> int:
        """The seed of this process's noise, from one that all have."""
        return common + self.rank * SEED_STRIDE

    def decorrelate(self, generator: torch.Generator) -> None:
        """Let a generator that all have alike go on with noise of this process's own."""
        if not self.first:
            generator.manual_seed(self.seed(generator.initial_seed()))

    def shard(self, rows: Tensor) -> Tensor:
        """Take note of rows and :meth:`local_rows` them."""
        self.set_share(rows)
        return self.local_rows(rows)

    def set_share(self, rows: Tensor) -> None:
        """Set this process's share of the rows worked on now, the weight of its gradients."""
        self.share = len(rows.tensor_split(self.size)[self.rank]) / len(rows)

    def local_rows(self, rows: Tensor) -> Tensor:
        """This process's part of the rows; one row of weight 0 if there are too few for all."""
        own = rows.tensor_split(self.size)[self.rank]
        return own if len(own) else rows[:1]

    def all_reduce_sum(self, sums: Tensor) -> Tensor:
        """Sums over all rows, from those over this process's part; the same, to the bit, on all."""
        if self.size == 1:
            return sums
        sums = sums.clone() if self.share else torch.zeros_like(sums)
        with _connection_errors():
            dist.all_reduce(sums, group=None if sums.is_cuda else self.host)
        return sums

    def all_reduce_gradients(self, weights: Sequence[Tensor], sums: Tensor) -> Tensor:
        """Turn gradients of the mean over this process's rows into those over all rows; returns the summed ``sums``."""
        if self.size == 1:
            return sums
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
        flat = self.all_reduce_sum(torch.cat([*(self.share * each.flatten() for each in gradients), sums]))
        *parts, sums = flat.split([each.numel() for each in (*gradients, sums)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return sums

    def any(self, flag: bool, step: int = 0) -> bool:
        """Whether one of them says so; in a loop, which tells its step, the others are asked every few steps."""
        if self.size == 1:
            return flag
        if step % POLL_EVERY:
            return False
        said = torch.tensor(int(flag))
        with _connection_errors():
            dist.all_reduce(said, dist.ReduceOp.MAX, group=self.host)
        return bool(said)

    def gather(self, value: T) -> list[T]:
        """The value of each, in their order."""
        values = [value] * self.size
        if self.size > 1:
            with _connection_errors():
                dist.all_gather_object(values, value, group=self.host)
        return values

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """Do what only the first one does; all get its result, or its error."""
        with self.raise_together():
            result: list[Any] = [work() if self.first else None]
        if self.size > 1:
            with _connection_errors():
                dist.broadcast_object_list(result, group=self.host)
        return result[0]

    def broadcast_weights(self, modules: Collection[nn.Module]) -> None:
        """Give all of them the weights and buffers of the first one."""
        if self.size > 1:
            weights = self.on_rank_zero(lambda: [_on_host(each) for each in modules])
            for module, those in zip(modules, weights, strict=True):
                module.load_state_dict(those)

    @contextlib.contextmanager
    def raise_together(self) -> Iterator[None]:
        """Context manager that raises an error of one process in all of them; inside, none may wait for the others."""
        try:
            yield
        except Exception as error:
            self.gather((isinstance(error, InputError), str(error) or type(error).__name__))
            raise
        said: list[tuple[bool, str] | None] = self.gather(None)
        for rank, told in enumerate(said):
            if told is not None:
                bad_input, message = told
                raise (InputError if bad_input else ProcessLost)(f"process {rank}: {message}")

    @contextlib.contextmanager
    def defer_interrupt(self) -> Iterator[None]:
        """Context manager that defers Ctrl-C to :meth:`raise_if_interrupted`: all processes stop at one step."""
        if self.size == 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def raise_if_interrupted(self, step: int) -> None:
        """Stop, all at the same step, where one of them noted Ctrl-C."""
        if self.any(self.interrupted, step):
            raise KeyboardInterrupt

    def _note(self, *_: Any) -> None:
        self.interrupted = True


@contextlib.contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The processes of torch's group; where there is none, of the one that torchrun asks for, as long as it lasts.

    Example:
        >>> with process_group() as group:
        ...     group.size
        1
    """
    ready = dist.is_available() and dist.is_initialized()
    asked = all(name in os.environ for name in ENVIRONMENT) and int(os.environ["WORLD_SIZE"]) > 1
    if not ready and not asked:
        yield ProcessGroup()
        return
    with _connection_errors():
        if not ready:
            dist.init_process_group(timeout=TIMEOUT)  # without a backend it is gloo for CPUs and nccl for GPUs
        host: Any = dist.new_group(backend="gloo", timeout=TIMEOUT)
    try:
        yield ProcessGroup(host)
    finally:
        dist.destroy_process_group(host if ready else None)


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo, nccl and the store, which have no class in common below it
        raise ProcessLost(
            f"the other processes of this training cannot be reached ({str(error).partition(chr(10))[0]}); "
            "start all of them again, with resume (--resume) if there is a checkpoint"
        ) from error


def _on_host(module: nn.Module) -> dict[str, Any]:
    return {name: value.cpu() for name, value in module.state_dict().items()}
