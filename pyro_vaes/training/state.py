"""The state of a training: all that a checkpoint holds, each piece written and read here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.runs.checkpoint import load_weights, restoring
from pyro_vaes.training.step import EagerStep
from pyro_vaes.validation import check_whole


class Epoch:
    """An epoch under way, which can be left between two steps and continued later, bit for bit on a CPU.

    Args:
        number: its number, from 1.
        size: number of training examples.
        seed: the training's seed, which fixes with the number the order of the examples and their noise.
        device: device of the examples.

    Attributes:
        generator: generator of the order and of the examples' noise.
        order: indices of the examples.
        seen: number of examples that were trained on.
        records: sums over the batch of objective and terms, one tensor per step.
        started: when it would have started without a break, on the clock ``time.perf_counter``.

    Example:
        >>> epoch = Epoch(1, size=5, seed=0, device=torch.device("cpu"))
        >>> epoch.add(torch.zeros(2), 3)
        >>> again = Epoch(1, size=5, seed=0, device=torch.device("cpu"))
        >>> again.load_state_dict(epoch.state_dict())
        >>> torch.equal(again.left(), epoch.left()), len(again.records)
        (True, 1)
    """

    def __init__(self, number: int, size: int, seed: int, device: torch.device) -> None:
        self.number, self.seed, self.device = number, seed * 1_000_003 + number, device
        self.generator = torch.Generator(device).manual_seed(self.seed)
        self.order = torch.randperm(size, generator=self.generator, device=device)
        self.seen = 0
        self.records: list[Tensor] = []
        self.started = time.perf_counter()

    def left(self) -> Tensor:
        """Indices of the examples that were not trained on yet."""
        return self.order[self.seen :]

    def add(self, record: Tensor, size: int) -> None:
        """Record a step on ``size`` examples."""
        self.records.append(record)
        self.seen += size

    def state_dict(self) -> dict[str, Any]:
        """The state on which the rest of the epoch depends, torch's random states included, after a first step."""
        return {
            "generator": self.generator.get_state(),
            "random": _random_states(self.device),
            "seen": self.seen,
            "records": torch.stack(self.records).cpu(),
            "seconds": time.perf_counter() - self.started,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave.

        Raises:
            ValueError: If the state is not that of the middle of an epoch of this size.
        """
        if not 0 < state["seen"] < len(self.order):
            raise ValueError(f"it has seen {state['seen']} of {len(self.order)} data")
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"][0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"][1], self.device)
        self.seen, self.records = state["seen"], list(state["records"].to(self.device))
        self.started = time.perf_counter() - state["seconds"]


class TrainingState:
    """All that a checkpoint holds: weights, optimizer, loss, history, and the epoch under way.

    Args:
        step: the gradient step, which has the model, the guide, the loss, the optimizer and the group of processes.
        size: number of training examples.
        seed: fixes the order of the examples and all noise.
        device: device of the training.
        cluster_epoch: epoch after which mixture priors are set to clusters of the codes; 0 for never.

    Attributes:
        history: one row per finished epoch.
        best: weights of model and guide at the best validation ELBO, on the CPU.
        best_epoch: their epoch, 0 before the first.
        epoch: the epoch under way; None between epochs.
        path: the run folder, or None; no part of a checkpoint, as the next two.
        stop: whether to end the training after the epoch under way.
        kept: the checkpoint that remains if the training fails, in words for messages.

    Example:
        >>> from pyro_vaes.losses import ELBO
        >>> state = TrainingState(EagerStep(vae, guide, ELBO(), lr=1e-3), size=4, seed=0, device=torch.device("cpu"))
        >>> sorted(state.state_dict())
        ['best_epoch', 'classes', 'cluster_epoch', 'guide', 'history', 'last', 'model', 'stopped', 'unfinished']
    """

    def __init__(self, step: EagerStep, size: int, seed: int, device: torch.device, cluster_epoch: int = 0) -> None:
        self.step, self.model, self.guide, self.loss, self.group = step, step.model, step.guide, step.loss, step.group
        self.modules = {"model": step.model, "guide": step.guide}
        self.size, self.seed, self.device, self.cluster_epoch = size, seed, device, cluster_epoch
        self.history: list[dict[str, float]] = []
        self.best, self.best_epoch = self.weights(), 0
        self.epoch: Epoch | None = None
        self.path: Path | None = None
        self.stop = False
        self.kept = "no epoch was finished, nothing is kept"
        self._unfinished: Mapping[str, Any] | None = None  # the epoch that the checkpoint is in the middle of

    @property
    def seen(self) -> int:
        """Number of examples that were trained on, in all epochs together."""
        inside = self.epoch.seen if self.epoch else self._unfinished["seen"] if self._unfinished else 0
        return len(self.history) * self.size + inside

    def start_epoch(self) -> Epoch:
        """Start the next epoch, or continue the one that the checkpoint is in the middle of."""
        epoch, left = Epoch(len(self.history) + 1, self.size, self.seed, self.device), self._unfinished
        if left is None:
            self.group.decorrelate(epoch.generator)
            torch.manual_seed(self.group.seed(epoch.seed))
        else:
            with restoring(self.path):
                epoch.load_state_dict([left, *left.get("others", ())][self.group.rank])
        self.epoch, self._unfinished = epoch, None
        return epoch

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Add an epoch's row to the history."""
        self.history.append(row)
        self.epoch = None
        self.note_kept()

    def note_kept(self, steps: int = 0) -> None:
        """Note that a checkpoint of the epochs in the history is kept, or of some steps of the next one."""
        where = "" if self.path is None else f" in {self.path}"
        inside = f", step {steps}," if steps else ""
        self.kept = f"the checkpoint of epoch {len(self.history) + bool(steps)}{inside}{where} is kept"

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """A copy on the CPU of the weights and buffers of model and guide."""
        return {
            name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
            for name, module in self.modules.items()
        }

    def load_best(self) -> None:
        """Load the best weights into model and guide."""
        for name, module in self.modules.items():
            module.load_state_dict(self.best[name])

    def gather_epochs(self) -> list[dict[str, Any]]:
        """The state of the epoch under way in each process, for which all of them have to ask; none between epochs."""
        return [] if self.epoch is None else self.group.gather(self.epoch.state_dict())

    def state_dict(self, epochs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The checkpoint.

        Args:
            epochs: the epoch under way in each process, from :meth:`gather_epochs`.
        """
        return {
            **self.best,
            "classes": self._classes(),
            "cluster_epoch": self.cluster_epoch,
            "last": {**self.weights(), **self.step.state_dict(), "loss": self.loss.state_dict()},
            "history": self.history,
            "best_epoch": self.best_epoch,
            "stopped": self.stop,
            "unfinished": {**epochs[0], "others": list(epochs[1:]), "of": self._shared()} if epochs else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: If the checkpoint is that of another training, or in the middle of an epoch that this training
                would not finish as it was started, or if what it has done already is not what the settings say.
        """
        for name, module in self.modules.items():
            load_weights(module, state, name, last=True)
        with restoring(self.path):
            unfinished = state.get("unfinished")
            self._check_shared(unfinished)
            self._check_loss(state)
            self._check_clusters(state)
            self.step.load_state_dict(state["last"])
            self.loss.load_state_dict(state["last"].get("loss", {}))
            self.best = {name: state[name] for name in self.modules}
            self.history, self.best_epoch, self._unfinished = state["history"], state["best_epoch"], unfinished
            self.note_kept(0 if unfinished is None else len(unfinished["records"]))

    def _classes(self) -> dict[str, str]:
        return {name: type(each).__name__ for name, each in (*self.modules.items(), ("loss", self.loss))}

    def _check_loss(self, state: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another loss, whose terms and state are others."""
        here = type(self.loss).__name__
        if (there := state.get("classes", {}).get("loss", here)) != here:  # older checkpoints do not say
            raise InputError(f"the checkpoint's loss is {there}, here it is {here}: resume it with that loss")

    def _check_clusters(self, state: Mapping[str, Any]) -> None:
        """Refuse another epoch of cluster initialization if one of the two is past."""
        here, started = self.cluster_epoch, len(state["history"]) + (state.get("unfinished") is not None)
        there = state.get("cluster_epoch", here)
        if there != here and any(0 < each < started for each in (there, here)):
            raise InputError(
                f"the checkpoint's cluster_epoch is {there}, here it is {here}, which {started} epochs are past: "
                f"give cluster_epoch={there}"
            )

    def _shared(self) -> dict[str, Any]:
        """Settings that all parts of an epoch share."""
        return {
            "seed": self.seed,
            "loss": type(self.loss).__name__,
            "number of training data": self.size,
            "device": self.device.type,
            "number of processes": self.group.size,
        }

    def _check_shared(self, unfinished: Mapping[str, Any] | None) -> None:
        """Refuse the middle of an epoch whose rest would be another here."""
        if unfinished is None:
            return
        check_whole("the number of data that the checkpoint has seen", unfinished["seen"])
        for name, here in self._shared().items():
            if (there := unfinished["of"].get(name, 1)) != here:  # older checkpoints have no number of processes
                raise InputError(
                    f"the checkpoint is in the middle of an epoch whose {name} is {there}, "
                    f"here it is {here}: resume it as it was started"
                )


def _random_states(device: torch.device) -> list[Tensor]:
    """States of torch's global generators, the host's first."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]
