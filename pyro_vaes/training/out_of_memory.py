"""Where memory does not suffice: which batch size it would have sufficed for."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.training.step import EagerStep

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device, or of the host, does not suffice.

    Example:
        >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), is_out_of_memory(RuntimeError("no shape"))
        (True, False)
    """
    words = ("out of memory", "can't allocate memory")  # of a GPU's driver, of torch on a CPU
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )


def suggest_batch_size(
    work: Callable[[Tensor], T],
    x: Tensor,
    batch_size: int,
    kept: str,
    rehearse: Callable[[Tensor], object] | None = None,
    rows: float = 1,
) -> T:
    """What some work makes of a batch; where no memory holds it, its largest half, quarter, ... that fits is named.

    Args:
        work: what is done with the batch.
        x: the batch.
        batch_size: the setting that it follows from.
        kept: what is kept of the training, for the message.
        rehearse: takes as much memory as ``work``, but changes nothing; ``work`` itself by default.
        rows: rows of x for each of ``batch_size``.

    Raises:
        InputError: says which ``batch_size`` fits.

    Example:
        >>> def work(x):
        ...     if len(x) > 100:
        ...         raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        >>> suggest_batch_size(work, torch.zeros(256, 2), 256, "nothing is kept")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: batch_size 256 takes more memory than there is (CUDA out of memory. Tried to
        allocate 2 GiB); nothing is kept. batch_size 64 fits
    """
    try:
        return work(x)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
    # Only here, past the except block, does the error no longer hold on to the tensors of what it broke off.
    fitting = int(_largest(rehearse or work, x) / rows)
    advice = f"batch_size {fitting} fits" if fitting else "No batch_size fits: take smaller networks, or another device"
    raise InputError(f"batch_size {batch_size} takes more memory than there is ({reason}); {kept}. {advice}")


def rehearsal(step: EagerStep) -> Callable[[Tensor], None]:
    """A gradient step's work without its effect: forward and backward, beside what the optimiser will have kept."""

    def rehearse(x: Tensor) -> None:
        moments = [] if step.optimizer.state else [torch.empty_like(each) for each in step.weights for _ in range(2)]
        try:
            step.differentiate(x)
        finally:
            step.optimizer.zero_grad(set_to_none=True)
            moments.clear()

    return rehearse


def _largest(rehearse: Callable[[Tensor], object], x: Tensor) -> int:
    """Rows of a batch that fit, by halving; 0 where not even one does."""
    size = len(x) // 2
    while size:
        gc.collect()
        if x.is_cuda:
            torch.cuda.empty_cache()
        try:
            rehearse(x[:size])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return 0
