"""The training loop.

Hand-written for what general trainers do not offer together: a resume to the same weights, bit for bit, also within an
epoch, and steps that run eagerly, compiled or as a CUDA graph over model and guide.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vaes.data import Data
from pyro_vaes.data.streaming import batches, room_for
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.losses import Loss
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.runs.checkpoint import load_weights, restoring
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.distributed import ProcessGroup
from pyro_vaes.training.epoch import Epoch
from pyro_vaes.training.out_of_memory import rehearsal, suggest_batch_size
from pyro_vaes.training.progress import Progress
from pyro_vaes.training.signals import CheckpointTimer
from pyro_vaes.training.step import EagerStep
from pyro_vaes.training.step_kind import capture
from pyro_vaes.training.tensorboard import TensorBoardCallback
from pyro_vaes.vae import Guide, LatentVariableModel
from pyro_vaes.validation import check_whole

CHECK_EVERY = 50  # steps between two looks at whether the loss is finite, each of which waits for the device


INIT_SIZE = 10_000  # training images that a likelihood is initialised from


@dataclass
class Run:
    """A training run.

    Attributes:
        history: a row an epoch: ``epoch``, ``train_elbo``, ``valid_elbo`` and each term of the loss, means a
            datum in nats; ``step_ms``, milliseconds a gradient step; ``seconds`` for the epoch.
        path: the run folder, or None.
        best_epoch: the epoch of the best validation ELBO, whose weights model and guide now have.
        interrupted: whether Ctrl-C or SIGTERM ended the training.
        step: the kind of step that was taken, and why.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    path: Path | None = None
    best_epoch: int = 0
    interrupted: bool = False
    step: str = ""


class _Training:
    """The state of one run."""

    step: EagerStep
    timer: CheckpointTimer
    group: ProcessGroup

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        data: Data,
        loss: Loss,
        batch_size: int,
        seed: int,
        device: torch.device,
        cluster_epoch: int,
    ) -> None:
        self.modules = {"model": model, "guide": guide}
        self.model, self.guide, self.loss = model, guide, loss
        self.train = data.train.to(device if room_for(data.train.pixels, device) else "cpu")
        self.valid = data.valid.x.to(device)
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.cluster_epoch = cluster_epoch
        self.result = Run()
        self.best = self._weights()
        self.folder: RunFolder | None = None
        self.events = TensorBoardCallback(None, model, guide, self.valid)
        self.unfinished: Mapping[str, Any] | None = None  # the epoch that the checkpoint is in the middle of
        self.kept = "no epoch was finished, nothing is kept"

    def prepare(self, initialize: bool) -> None:
        """Look at the data, and run the first batch with all of Pyro's checks on."""
        self.loss.num_steps = 0
        x = self._init_batch()
        if isinstance(self.model, LatentVariableModel):
            self.model.likelihood.check(x)
            parts: tuple[Any, ...] = (self.model.likelihood, *self.model.priors.values())
            for part in parts:
                if initialize and not part.initialized:
                    part.initialize(x)
                    part.initialized.fill_(True)
        with restored_param_store(), pyro.validation_enabled(True), torch.no_grad():
            self.loss.objective(self.model, self.guide, x[: self.batch_size])

    def capture(self, asked: str, kind: str, reason: str, progress: bool) -> None:
        """Let the step see a batch before the first one."""
        pixels = self.group.shard(self.train.pixels[: self.batch_size].to(self.device))
        x = self.train.preprocess(pixels, torch.Generator(self.device).manual_seed(self.seed))
        self._switch(training=True)
        self.result.step = capture(self.step, x, asked, kind, reason)
        if progress:
            tqdm.write(f"step: {self.result.step}", file=sys.stderr)

    def open_folder(self, folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
        """Claim the run folder, and go on where its checkpoint ends."""
        self.group.on_rank_zero(lambda: folder.claim(overwrite, resume))
        self.folder, self.result.path = folder, folder.path
        if self.group.first:
            self.events = TensorBoardCallback(folder.path, self.model, self.guide, self.valid)
        if resume:
            state = self.group.on_rank_zero(folder.read_checkpoint)
            for name, module in self.modules.items():
                load_weights(module, state, name, last=True)
            with restoring(folder.path):
                self._check_unfinished(state)
                self.step.load_state_dict(state["last"])
                self.loss.load_state_dict(state["last"].get("loss", {}))
            self.best = {name: state[name] for name in self.modules}
            self.result.history, self.result.best_epoch = state["history"], state["best_epoch"]
            self._keeps(self.unfinished)
        self.group.on_rank_zero(lambda: folder.write_config(config))

    def _check_unfinished(self, state: Mapping[str, Any]) -> None:
        """Go on in the middle of an epoch only where its rest is the one that it would have had."""
        self.unfinished = state.get("unfinished")
        left = self._of_epochs()
        if self.unfinished is not None:
            check_whole("the number of data that the checkpoint has seen", self.unfinished["seen"])
            left = self.unfinished["of"]
        for name, here in self._of_epochs().items():
            if (there := left.get(name, 1)) != here:  # checkpoints from before there were processes are of one
                raise InputError(
                    f"the checkpoint is in the middle of an epoch whose {name} is {there}, "
                    f"here it is {here}: resume it as it was started"
                )

    def _of_epochs(self) -> dict[str, Any]:
        """What all parts of an epoch have to share."""
        return {
            "seed": self.seed,
            "loss": type(self.loss).__name__,
            "number of training data": len(self.train),
            "device": self.device.type,
            "number of processes": self.group.size,
        }

    def run(self, epochs: int, progress: bool) -> None:
        """Train up to so many epochs, then take the best weights."""
        with (
            contextlib.nullcontext() if self.folder is None else self.timer.defer_sigterm(),
            self.group.defer_interrupt(),
        ):
            self._run_epochs(epochs, progress)
            self._switch(training=False)
            if self.result.history:
                for name, module in self.modules.items():
                    module.load_state_dict(self.best[name])

    def _run_epochs(self, epochs: int, progress: bool) -> None:
        done = len(self.result.history)
        seen = done * len(self.train) + (self.unfinished["seen"] if self.unfinished else 0)
        with Progress(epochs, len(self.train), seen, progress) as bar, contextlib.closing(self.events):
            try:
                for epoch in range(done + 1, epochs + 1):
                    self._epoch(epoch, bar)
            except KeyboardInterrupt:
                self.result.interrupted = True

    def _switch(self, training: bool) -> None:
        """Into training or evaluation mode, which dropout and batch norm heed."""
        for module in self.modules.values():
            module.train(training)

    def _start(self, number: int) -> Epoch:
        """An epoch from its start, or from where the checkpoint left it."""
        seed = self.seed * 1_000_003 + number
        epoch, left = Epoch(len(self.train), seed, self.device), self.unfinished
        if left is not None:
            with restoring(self.result.path):
                epoch.load_state_dict([left, *left.get("others", ())][self.group.rank])
            self.unfinished = None
            return epoch
        self.group.decorrelate(epoch.generator)
        torch.manual_seed(self.group.seed(seed))
        if self.cluster_epoch and number == self.cluster_epoch + 1:
            self.group.on_rank_zero(lambda: self._initialize_clusters())
            self.group.broadcast_weights(self.modules.values())
        return epoch

    def _initialize_clusters(self) -> None:
        """Set the mixture priors, which the arguments' checks have seen, to the clusters of the codes."""
        initialize_from_codes(cast(LatentVariableModel, self.model), cast(Guide, self.guide), self._init_batch())

    def _init_batch(self) -> Tensor:
        """The training data of data-dependent initialization."""
        return self.train.preprocess(self.train.pixels[:INIT_SIZE].to(self.device))

    def _epoch(self, number: int, bar: Progress) -> None:
        epoch = self._start(number)
        self._switch(training=True)
        checked = len(epoch.records)
        indices = epoch.left().split(self.batch_size)
        for index, pixels in zip(
            indices, batches(self.train.pixels, map(self.group.local_rows, indices), self.device), strict=True
        ):
            self.group.set_share(index)
            epoch.add(self._step(self.train.preprocess(pixels, epoch.generator)), len(index))
            bar.update(len(index))
            self.group.raise_if_interrupted(self.loss.num_steps)
            inside = self.folder is not None and epoch.seen < len(self.train)
            due = inside and self.group.any(self.timer.due(), self.loss.num_steps)
            if due or len(epoch.records) - checked == CHECK_EVERY:
                self._check_finite(epoch.records, checked, number)
                checked = len(epoch.records)
            if due:
                self._check_weights(number)
                state, *others = self.group.gather(epoch.state_dict())
                self._save({**state, "others": others, "of": self._of_epochs()})
        self._check_finite(epoch.records, checked, number)
        means = (torch.stack(epoch.records).sum(0) / len(self.train)).tolist()
        trained = time.perf_counter()
        row = dict(zip(self.step.names, means, strict=True))
        self._check_weights(number)
        with self.step.averaged():
            valid = self._assess(number)
            row = {
                "epoch": number,
                "train_elbo": row["reconstruction"] - row["kl"],
                "valid_elbo": valid,
                **row,
                "step_ms": 1e3 * (trained - epoch.started) / len(epoch.records),
                "seconds": time.perf_counter() - epoch.started,
            }
            self.group.on_rank_zero(lambda: self.events.add(row))
        self.result.history.append(row)
        self._save()
        bar.epoch(row)

    def _step(self, x: Tensor) -> Tensor:
        return suggest_batch_size(self.step, x, self.batch_size, self.kept, rehearsal(self.step), 1 / self.group.size)

    def _assess(self, epoch: int) -> float:
        """Validate the weights that are there, and keep them where they are the best so far."""
        valid = self._validate()
        if not math.isfinite(valid):
            raise NonFiniteError(f"epoch {epoch}: the validation ELBO is {valid}; {self.kept}")
        rivals = self.result.history[self.cluster_epoch if epoch > self.cluster_epoch else 0 :]
        if valid > max((past["valid_elbo"] for past in rivals), default=-math.inf):
            self.best, self.result.best_epoch = self._weights(), epoch
        return valid

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean ELBO a validation datum, on the same draws in every epoch."""
        self._switch(training=False)
        torch.manual_seed(self.group.seed(self.seed))
        total = torch.zeros((), device=self.device)
        for x in self.group.shard(self.valid).split(4 * self.batch_size):
            work = partial(self.loss.terms, self.model, self.guide)
            terms = suggest_batch_size(work, x, self.batch_size, self.kept, rows=4 / self.group.size)
            total += (terms["reconstruction"] - terms["kl"]).sum()
        return self.group.all_reduce_sum(total).item() / len(self.valid)

    def _check_finite(self, records: list[Tensor], before: int, epoch: int) -> None:
        """Look at the records after the first so many."""
        if len(records) == before:
            return
        table = torch.stack(records[before:])
        finite = table.isfinite()
        if finite.all():
            return
        step = int((~finite.all(1)).nonzero()[0])
        wrong = [
            f"{name} = {value:.4g}"
            for name, value, fine in zip(self.step.names, table[step].tolist(), finite[step].tolist(), strict=True)
            if not fine
        ]
        raise NonFiniteError(
            f"epoch {epoch}, step {before + step + 1}: not finite: {', '.join(wrong)} (sums over the batch); "
            f"{self.kept}. A smaller lr often helps"
        )

    def _check_weights(self, epoch: int) -> None:
        """Save no weights that the last steps spoilt; a loss may stay finite with them, and the validation too."""
        for module in self.modules.values():
            for name, weight in module.named_parameters():
                if not weight.isfinite().all():
                    raise NonFiniteError(f"epoch {epoch}: not finite: {name}; {self.kept}. A smaller lr often helps")

    def _keeps(self, unfinished: Mapping[str, Any] | None) -> None:
        """Note what stays if the training fails from here on."""
        epoch, where = len(self.result.history), "" if self.folder is None else f" in {self.folder.path}"
        step = "" if unfinished is None else f", step {len(unfinished['records'])},"
        self.kept = f"the checkpoint of epoch {epoch + bool(step)}{step}{where} is kept"

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
            for name, module in self.modules.items()
        }

    def _save(self, unfinished: Mapping[str, Any] | None = None) -> None:
        """Save the state, at the end of an epoch or in the middle of one; then end the run if SIGTERM asks for it."""
        folder = self.folder
        if folder is None:
            self._keeps(None)
            return
        self.group.on_rank_zero(lambda: self._write(folder, unfinished))
        self._keeps(unfinished)
        self.timer.restart()
        self.timer.terminated = self.group.any(self.timer.terminated)
        if self.timer.terminated:
            raise KeyboardInterrupt

    def _write(self, folder: RunFolder, unfinished: Mapping[str, Any] | None) -> None:
        state = {
            **self.best,
            "classes": {name: type(module).__name__ for name, module in self.modules.items()},
            "last": {**self._weights(), **self.step.state_dict(), "loss": self.loss.state_dict()},
            "history": self.result.history,
            "best_epoch": self.result.best_epoch,
            "unfinished": unfinished,
        }
        folder.write_checkpoint(state)
        folder.write_metrics(self.result.history)
