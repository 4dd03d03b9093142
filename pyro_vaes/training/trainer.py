"""The training loop.

Hand-written for what general trainers do not offer together: a resume to the same weights, bit for bit, also within an
epoch, and steps that run eagerly, compiled or as a CUDA graph over model and guide.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vaes.data.split import Split
from pyro_vaes.data.streaming import batches
from pyro_vaes.losses.base import Terms
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.out_of_memory import dry_run, suggest_batch_size
from pyro_vaes.training.pair import set_mode
from pyro_vaes.training.state import Epoch, TrainingState
from pyro_vaes.training.step_kind import prepare_step


class Trainer:
    """The training loop: epochs of gradient steps, a validation after each, and callbacks in between.

    Advice on memory and Ctrl-C in several processes are in the loop itself: the former encloses a step, and the latter
    has to end all processes after the same one.

    Args:
        state: the state that is trained.
        train: the training data.
        valid: the validation data, ``(N, *event_shape)``, and the inputs beside x that the step takes.
        batch_size: examples per gradient step, over all processes.
        callbacks: called in this order; their ``on_end`` in the reverse one.

    Attributes:
        interrupted: whether Ctrl-C or SIGTERM ended the training.
    """

    def __init__(
        self,
        state: TrainingState,
        train: Split,
        valid: Sequence[Tensor],
        batch_size: int,
        callbacks: Sequence[Callback],
    ) -> None:
        self.state, self.step, self.group, self.device = state, state.step, state.group, state.device
        self.train, self.valid, self.batch_size = train, valid, batch_size
        self.given = train.given(self.step.given).to(valid[0])
        self.callbacks, self.interrupted = callbacks, False
        self.on_step = [each.on_step for each in callbacks if type(each).on_step is not Callback.on_step]
        self.dry_run = dry_run(self.step)

    def prepare(self, asked: str, chosen: str, reason: str) -> str:
        """Prepare the step for whole batches; returns the kind of step, and why it is that kind."""
        pixels = self.group.shard(self.train.pixels[: self.batch_size].to(self.device))
        x = self.train.preprocess(pixels, torch.Generator(self.device).manual_seed(self.state.seed))
        self._set_mode(training=True)
        given = map(self.group.local_rows, self.given.take(slice(self.batch_size)).values())
        return prepare_step(self.step, (x, *given), asked, chosen, reason)

    def run(self, epochs: int) -> None:
        """Train until the history has this number of epochs, or a callback stops it; then load the best weights."""
        state = self.state
        with contextlib.ExitStack() as ends:
            try:
                for callback in self.callbacks:
                    ends.callback(callback.on_end, state)
                    callback.on_start(state)
                while len(state.history) < epochs and not self.group.any(state.stop):
                    self._run_epoch()
            except KeyboardInterrupt:
                self.interrupted = True
        self._set_mode(training=False)
        if state.history:
            state.load_best()

    def _run_epoch(self) -> None:
        epoch = self.state.start_epoch()
        for callback in self.callbacks:
            callback.on_epoch_start(self.state, epoch)
        self._train(epoch)
        means = dict(zip(self.step.names, (torch.stack(epoch.records).sum(0) / len(self.train)).tolist(), strict=True))
        trained = time.perf_counter()
        for callback in self.callbacks:
            callback.on_validation_start(self.state, epoch)
        with self.step.averaged():
            row = {
                "epoch": epoch.number,
                "train_elbo": self.state.loss.evidence_bound(means),
                "valid_elbo": self._validate(),
                **means,
                "step_ms": 1e3 * (trained - epoch.started) / len(epoch.records),
                "seconds": time.perf_counter() - epoch.started,
            }
            for callback in self.callbacks:
                callback.on_validation_end(self.state, row)
        self.state.finish_epoch(row)
        for callback in self.callbacks:
            callback.on_epoch_end(self.state, row)

    def _train(self, epoch: Epoch) -> None:
        """Take the epoch's steps."""
        self._set_mode(training=True)
        indices = epoch.left().split(self.batch_size)
        local = [self.group.local_rows(index) for index in indices]
        pixels = batches(self.train.pixels, local, self.device)
        for index, rows, stored in zip(indices, local, pixels, strict=True):
            self.group.set_share(index)
            batch = (self.train.preprocess(stored, epoch.generator), *self.given.take(rows).values())
            with suggest_batch_size(batch, self.batch_size, self.state.kept, self.dry_run, rows=1 / self.group.size):
                sums = self.step(*batch)
            epoch.add(sums, len(index))
            self.group.raise_if_interrupted(self.state.loss.num_steps)
            for on_step in self.on_step:
                on_step(self.state, epoch)

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean bound of log p(x) per validation example, on the same draws in every epoch."""
        self._set_mode(training=False)
        torch.manual_seed(self.group.seed(self.state.seed))
        total = torch.zeros((), device=self.device)
        for batch in zip(*(self.group.shard(each).split(4 * self.batch_size) for each in self.valid), strict=True):
            with suggest_batch_size(batch, self.batch_size, self.state.kept, self._terms, rows=4 / self.group.size):
                terms = self._terms(*batch)
            total += self.state.loss.evidence_bound(terms).sum()
        return self.group.all_reduce_sum(total).item() / len(self.valid[0])

    def _terms(self, x: Tensor, *given: Tensor) -> Terms:
        return self.state.loss.terms(*self.step.bound(*given), x)

    def _set_mode(self, training: bool) -> None:
        """Set training or evaluation mode."""
        set_mode(self.state.modules.values(), training)
