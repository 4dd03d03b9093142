"""One pass through the training data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Epoch:
    """An epoch under way, which can be left between two steps and gone on with, bit for bit on a CPU.

    Args:
        size: number of training data.
        seed: fixes their order, and the noise of their preparation.
        device: where the data are.

    Attributes:
        generator: what gave the order and prepares the data.
        order: indices of the data.
        seen: number of them that were trained on.
        records: what each step gave.
        started: when it would have started without a break, on the clock ``time.perf_counter``.

    Example:
        >>> epoch = Epoch(5, seed=0, device=torch.device("cpu"))
        >>> epoch.add(torch.zeros(2), 3)
        >>> again = Epoch(5, seed=0, device=torch.device("cpu"))
        >>> again.load_state_dict(epoch.state_dict())
        >>> again.left(), len(again.records)
        (tensor([3, 2]), 1)
    """

    def __init__(self, size: int, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.order = torch.randperm(size, generator=self.generator, device=device)
        self.seen = 0
        self.records: list[Tensor] = []
        self.started = time.perf_counter()

    def left(self) -> Tensor:
        """Indices of the data that were not trained on yet."""
        return self.order[self.seen :]

    def add(self, record: Tensor, size: int) -> None:
        """Take note of a step on so many data."""
        self.records.append(record)
        self.seen += size

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the epoch depends on, torch's random states among it; there was a step already."""
        return {
            "generator": self.generator.get_state(),
            "random": _random_states(self.device),
            "seen": self.seen,
            "records": torch.stack(self.records).cpu(),
            "seconds": time.perf_counter() - self.started,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            ValueError: where it is of fewer data than were seen.
        """
        if not 0 < state["seen"] <= len(self.order):
            raise ValueError(f"it has seen {state['seen']} of {len(self.order)} data")
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"][0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"][1], self.device)
        self.seen, self.records = state["seen"], list(state["records"].to(self.device))
        self.started = time.perf_counter() - state["seconds"]


def _random_states(device: torch.device) -> list[Tensor]:
    """States of torch's global generators, the host's first."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]
