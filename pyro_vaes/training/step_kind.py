"""The kind of step that a training takes, and why."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.cuda_graph_step import GraphStep
from pyro_vaes.training.step import CannotCompile, EagerStep

#: Kinds of steps, by the name that ``fit`` takes; ``"auto"`` is one of them.
STEPS: dict[str, type[EagerStep]] = {"eager": EagerStep, "compiled": CompiledStep, "graph": GraphStep}


PAST = {"compiled": "compiled", "graph": "a CUDA graph"}


REPAYS = 5_000  # steps whose compiled form saves, on a CPU, what the compilation costs


def choose_step(asked: str, device: torch.device, steps: int) -> tuple[str, str]:
    """The kind of step for a training, and the reason in words.

    It depends on nothing that differs from run to run, so that a resumed training takes the same.

    Args:
        asked: a kind, or ``"auto"``.
        device: where the training runs.
        steps: number of steps of the training.

    Example:
        >>> choose_step("auto", torch.device("cpu"), steps=20_000)
        ('compiled', '20000 steps repay the compilation')
    """
    if asked != "auto":
        return asked, "as asked for"
    if device.type == "cuda":
        return "graph", "on a GPU, which would wait for Python"
    if steps >= REPAYS:
        return "compiled", f"{steps} steps repay the compilation"
    return "eager", f"{steps} steps would not repay a compilation"


def prepare_step(step: EagerStep, batch: Sequence[Tensor], asked: str, chosen: str, reason: str) -> str:
    """Prepare a step for batches such as this one; returns which kind it is now, why, and its remark.

    One that cannot be recorded is taken eagerly if ``"auto"`` chose it.

    Raises:
        InputError: If it cannot be recorded, but was asked for.
    """
    try:
        step.prepare_for(*batch)
    except CannotCompile as error:
        if asked != "auto":
            raise InputError(f"this step cannot be {PAST[asked]}: {error}. Take step='eager'") from error
        return f"eager, as it cannot be {PAST[chosen]}: {error}"
    return "; ".join(filter(None, [f"{chosen}: {reason}", step.remark]))
