"""Out of memory: recognition of such errors, and the batch size that would fit."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.training.step import EagerStep


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


@contextlib.contextmanager
def suggest_batch_size(
    batch: Sequence[Tensor], batch_size: int, kept: str, dry_run: Callable[..., object], rows: float = 1
) -> Iterator[None]:
    """Context manager that, out of memory, names the batch size of the largest half, quarter, ... that fits.

    Args:
        batch: the batch that is worked on, x and the inputs beside it.
        batch_size: the setting that gave the batch its size.
        kept: what is kept of the training, for the message.
        dry_run: a function of a batch that takes as much memory as the work, but changes nothing.
        rows: rows of the batch per unit of ``batch_size``.

    Raises:
        InputError: If the memory does not suffice; says which ``batch_size`` fits.

    Example:
        >>> def work(x):
        ...     if len(x) > 100:
        ...         raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        >>> x = torch.zeros(256, 2)
        >>> with suggest_batch_size([x], 256, "nothing is kept", work):
        ...     work(x)
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: batch_size 256 takes more memory than there is (CUDA out of memory. Tried to
        allocate 2 GiB); nothing is kept. batch_size 64 fits
    """
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        traceback.clear_frames(error.__traceback__)  # which hold on to the tensors of the interrupted work
    fitting = int(_largest(dry_run, batch) / rows)
    advice = f"batch_size {fitting} fits" if fitting else "No batch_size fits: take smaller networks, or another device"
    raise InputError(f"batch_size {batch_size} takes more memory than there is ({reason}); {kept}. {advice}")


def dry_run(step: EagerStep) -> Callable[..., None]:
    """A gradient step without its effect: forward and backward, with memory for the optimizer's moments."""

    def run(*batch: Tensor) -> None:
        moments = [] if step.optimizer.state else [torch.empty_like(each) for each in step.weights for _ in range(2)]
        try:
            step.differentiate(*batch)
        finally:
            step.optimizer.zero_grad(set_to_none=True)
            moments.clear()

    return run


def _largest(work: Callable[..., object], batch: Sequence[Tensor]) -> int:
    """Number of rows of a batch that fit, by halving; 0 if not even one does."""
    size = len(batch[0]) // 2
    while size:
        gc.collect()
        if batch[0].is_cuda:
            torch.cuda.empty_cache()
        try:
            work(*(each[:size] for each in batch))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return 0
