"""Training: ``fit``. (Its module has another name so that ``pyro_vaes.fit`` is always the function.)"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vaes.compiled import CompiledStep, NotCaptured
from pyro_vaes.data import Data
from pyro_vaes.epoch import Epoch
from pyro_vaes.errors import InputError, NonFiniteError, check_whole, unknown
from pyro_vaes.losses import Loss, default_loss
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.runs import RunFolder, load_weights
from pyro_vaes.step import OPTIMIZERS, EagerStep
from pyro_vaes.vae import unchanged_store
from pyro_vaes.watch import Watch

STEPS: dict[str, type[EagerStep]] = {"auto": EagerStep, "eager": EagerStep, "compiled": CompiledStep}
CHECK_EVERY = 50  # steps between two looks at whether the loss is finite, each of which waits for the device
LOOK = 10_000  # training images that a likelihood is initialised from


@dataclass
class Run:
    """A training run.

    Attributes:
        history: a row an epoch: ``epoch``, ``train_elbo``, ``valid_elbo`` and each term of the loss, means a
            datum in nats; ``step_ms``, milliseconds a gradient step; ``seconds`` for the epoch.
        path: the run folder, or None.
        best_epoch: the epoch of the best validation ELBO, whose weights model and guide now have.
        interrupted: whether Ctrl-C or SIGTERM ended the training.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    path: Path | None = None
    best_epoch: int = 0
    interrupted: bool = False


def fit(
    model: nn.Module,
    guide: nn.Module,
    data: Data,
    loss: Loss | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    step: str = "auto",
    ema: float | None = None,
    optimizer: str = "adam",
    cluster_epoch: int = 0,
    config: Mapping[str, Any] | None = None,
    checkpoint_minutes: float = 10.0,
) -> Run:
    """Train model and guide by gradient; leave them in evaluation mode, with the weights of the best validation ELBO.

    Torch's global random state is left as it was, and Pyro's parameter store is not touched. The order of the
    data depends on ``seed`` and the epoch alone.

    Args:
        model: a Pyro model that is a module, called with a batch.
        guide: its guide, a module too.
        data: what to train and validate on.
        loss: the objective; by default the one that the guide asks for, ``ELBO()`` for most.
        epochs: number of passes through the training data.
        batch_size: data a gradient step.
        lr: the optimiser's learning rate.
        seed: fixes the order of the data and all noise.
        device: ``"auto"`` (the first GPU, else the CPU) or a torch device.
        out: run folder to write ``config.yaml``, ``metrics.jsonl`` and ``checkpoint.pt`` to; None writes nothing.
        overwrite: whether to replace the run that ``out`` holds.
        resume: whether to go on with the run that ``out`` holds, from its last checkpoint; on a CPU the weights are
            then, to the bit, those of a run without a break.
        progress: whether to show a progress bar.
        step: how a step is run: ``"eager"``, operation by operation; ``"compiled"``, from a graph that is traced and
            compiled first, which takes some tens of seconds and pays in long trainings; ``"auto"`` is eager.
        ema: decay of the weights' exponential moving average; validation and the weights that are kept are then the
            averaged ones; None for none.
        optimizer: ``"adam"`` or ``"adamax"``.
        cluster_epoch: epoch after which Gaussian mixture priors are set to the clusters that the codes form, see
            ``models.initialize_from_codes``; weights from before are not kept as the best. 0 for never.
        config: what ``config.yaml`` says; by default the arguments of this call.
        checkpoint_minutes: after so long a checkpoint is written inside an epoch too, not at its end alone.

    Returns:
        The run. Ctrl-C ends it after the last whole epoch, without an exception. With ``out``, in the main thread,
        SIGTERM ends it after the step under way: a checkpoint is written, and then the signal goes on to whoever
        handled it before; by default it ends the process.

    Raises:
        InputError: for settings, data or a run folder that cannot be used, before any training.
        NonFiniteError: where the loss is not finite; the last good checkpoint stays.

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("digits")
        >>> run = pv.fit(vae, pv.guides.MeanField(vae, encoder), data, epochs=2, progress=False)
        >>> [row["epoch"] for row in run.history], run.history[1]["valid_elbo"] > run.history[0]["valid_elbo"]
        ([1, 2], True)
    """
    loss = loss or default_loss(guide)
    check_seed(seed)
    check_budget(epochs, batch_size, lr)
    check_optimizer(optimizer, ema)
    _check_means(loss, step)
    _check_minutes(checkpoint_minutes)
    _check_clusters(model, guide, cluster_epoch)
    chosen = choose_device(device)
    settings = {
        "data": data.description,
        "loss": type(loss).__name__,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    settings |= {"lr": lr, "optimizer": optimizer, "ema": ema, "cluster_epoch": cluster_epoch}
    settings |= {"seed": seed, "device": str(chosen)}
    training = _Training(model.to(chosen), guide.to(chosen), data, loss, batch_size, seed, chosen, cluster_epoch)
    training.watch = Watch(checkpoint_minutes)
    with torch.random.fork_rng([chosen] if chosen.type == "cuda" else []):
        torch.manual_seed(seed)
        training.prepare(initialize=not resume)
        training.step = STEPS[step](model, guide, loss, lr, optimizer, ema)
        if out is not None:
            training.open_folder(RunFolder(out), config or settings, overwrite, resume)
        with unchanged_store(), pyro.validation_enabled(False):
            training.capture()
            training.run(epochs, progress)
    return training.result


def choose_device(device: str) -> torch.device:
    """The torch device of a name; ``"auto"`` is the first GPU, else the CPU.

    Raises:
        InputError: where there is no such device here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} is not to be had here: give auto, cpu or cuda") from error


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators do not take.

    Raises:
        InputError: where it is no whole number from 0 to 2³² - 1.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}: expected a whole number from 0 to 4294967295")


def check_budget(epochs: int, batch_size: int, lr: float) -> None:
    """Refuse settings with which no training is possible.

    Raises:
        InputError: for one that is out of range.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_whole(name, value)
    if not (isinstance(lr, (int, float)) and 0 < lr < math.inf):
        raise InputError(f"lr is {lr!r}: expected a positive number, for example 1e-3")


def check_optimizer(optimizer: str, ema: float | None) -> None:
    """Refuse an optimiser or an average of the weights that there is not.

    Raises:
        InputError: for an unknown optimiser, or a decay outside (0, 1).
    """
    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", str(optimizer), OPTIMIZERS)
    if ema is not None and not (isinstance(ema, (int, float)) and 0 < ema < 1):
        raise InputError(
            f"ema is {ema!r}: expected the decay of the weights' moving average, a number between 0 and 1 such as "
            "0.998, or None for no average"
        )


def _check_means(loss: Loss, step: str) -> None:
    if not isinstance(loss, Loss):
        raise InputError(f"loss is a {type(loss).__name__}: fit takes the losses of pyro_vaes.losses, such as ELBO()")
    if step not in STEPS:
        raise unknown("step", str(step), STEPS)


def _check_minutes(minutes: float) -> None:
    if not (isinstance(minutes, (int, float)) and minutes > 0):
        raise InputError(f"checkpoint_minutes is {minutes!r}: expected a positive number of minutes, such as 10")


def _check_clusters(model: Any, guide: Any, cluster_epoch: int) -> None:
    check_whole("cluster_epoch", cluster_epoch, least=0)
    clustered = any(isinstance(prior, GaussianMixture) for prior in getattr(model, "priors", ()))
    if cluster_epoch and not (clustered and hasattr(guide, "posteriors")):
        raise InputError(
            f"cluster_epoch is {cluster_epoch}, but a {type(model).__name__} with a {type(guide).__name__} has no "
            "clusters: leave it out, or take a MixtureVAE or a LadderMixtureVAE with its guide"
        )


class _Training:
    """The state of one run."""

    step: EagerStep
    watch: Watch

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
        self.train = data.train.to(device)
        self.valid = data.valid.x.to(device)
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.cluster_epoch = cluster_epoch
        self.result = Run()
        self.best = self._weights()
        self.folder: RunFolder | None = None
        self.unfinished: Mapping[str, Any] | None = None  # the epoch that the checkpoint is in the middle of
        self.kept = "no epoch was finished, nothing is kept"

    def prepare(self, initialize: bool) -> None:
        """Look at the data, and run the first batch with all of Pyro's checks on."""
        self.loss.step = 0
        likelihood = getattr(self.model, "likelihood", None)
        x = self.train.prepare(self.train.raw[:LOOK])
        if likelihood is not None:
            likelihood.check(x)
            if initialize:
                likelihood.initialize(x)
        if initialize:
            for prior in getattr(self.model, "priors", ()):
                prior.initialize(x)
        with unchanged_store(), pyro.validation_enabled(True), torch.no_grad():
            self.loss.objective(self.model, self.guide, x[: self.batch_size])

    def capture(self) -> None:
        """Let the step see a batch before the first one."""
        x = self.train.prepare(self.train.raw[: self.batch_size], torch.Generator(self.device).manual_seed(self.seed))
        self._switch(training=True)
        try:
            self.step.capture(x)
        except NotCaptured as error:
            raise InputError(f"this step cannot be compiled: {error}. Take step='eager'") from error

    def open_folder(self, folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
        """Claim the run folder, and go on where its checkpoint ends."""
        folder.claim(overwrite, resume)
        self.folder, self.result.path = folder, folder.path
        if resume:
            state = folder.read_checkpoint()
            for name, module in self.modules.items():
                load_weights(module, state, name, last=True)
            self._check_unfinished(state)
            self.step.load_state_dict(state["last"])
            self.loss.load_state_dict(state["last"].get("loss", {}))
            self.best = {name: state[name] for name in self.modules}
            self.result.history, self.result.best_epoch = state["history"], state["best_epoch"]
            self._keeps(self.unfinished)
        folder.write_config(config)

    def _check_unfinished(self, state: Mapping[str, Any]) -> None:
        """Go on in the middle of an epoch only where its rest is the one that it would have had."""
        self.unfinished = state.get("unfinished")
        left = self._of_epochs() if self.unfinished is None else self.unfinished["of"]
        for name, here in self._of_epochs().items():
            if left[name] != here:
                raise InputError(
                    f"the checkpoint is in the middle of an epoch whose {name} is {left[name]}, "
                    f"here it is {here}: resume it as it was started"
                )

    def _of_epochs(self) -> dict[str, Any]:
        """What all parts of an epoch have to share."""
        return {
            "seed": self.seed,
            "loss": type(self.loss).__name__,
            "number of training data": len(self.train),
            "device": self.device.type,
        }

    def run(self, epochs: int, progress: bool) -> None:
        """Train up to so many epochs, then take the best weights."""
        with contextlib.nullcontext() if self.folder is None else self.watch.holding():
            self._run_epochs(epochs, progress)
            self._switch(training=False)
            if self.result.history:
                for name, module in self.modules.items():
                    module.load_state_dict(self.best[name])

    def _run_epochs(self, epochs: int, progress: bool) -> None:
        done = len(self.result.history)
        with tqdm(
            total=epochs * len(self.train),
            initial=done * len(self.train) + (self.unfinished["seen"] if self.unfinished else 0),
            unit=" images",
            unit_scale=True,
            disable=not progress,
            mininterval=0.5,
        ) as bar:
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
            epoch.load_state_dict(left)
            self.unfinished = None
            return epoch
        torch.manual_seed(seed)
        if self.cluster_epoch and number == self.cluster_epoch + 1:
            initialize_from_codes(self.model, self.guide, self.train.prepare(self.train.raw[:LOOK]))
        return epoch

    def _epoch(self, number: int, bar: Any) -> None:
        epoch = self._start(number)
        self._switch(training=True)
        checked = len(epoch.records)
        for index in epoch.left().split(self.batch_size):
            epoch.add(self.step(self.train.prepare(self.train.raw[index], epoch.generator)), len(index))
            bar.update(len(index))
            due = self.folder is not None and epoch.seen < len(self.train) and self.watch.due()
            if due or len(epoch.records) - checked == CHECK_EVERY:
                self._check_finite(epoch.records, checked, number)
                checked = len(epoch.records)
            if due:
                self._check_weights(number)
                self._save({**epoch.state_dict(), "of": self._of_epochs()})
        self._check_finite(epoch.records, checked, number)
        means = (torch.stack(epoch.records).sum(0) / len(self.train)).tolist()
        trained = time.perf_counter()
        row = dict(zip(self.step.names, means, strict=True))
        valid = self._assess(number)
        row = {
            "epoch": number,
            "train_elbo": row["reconstruction"] - row["kl"],
            "valid_elbo": valid,
            **row,
            "step_ms": 1e3 * (trained - epoch.started) / len(epoch.records),
            "seconds": time.perf_counter() - epoch.started,
        }
        self.result.history.append(row)
        self._save()
        bar.set_postfix_str(f"epoch {number} ELBO train {row['train_elbo']:.2f} valid {valid:.2f} nats", refresh=False)

    def _assess(self, epoch: int) -> float:
        """Validate the weights, the averaged ones if there are any, and keep them where they are the best so far."""
        with self.step.averaged():
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
        torch.manual_seed(self.seed)
        total = torch.zeros((), device=self.device)
        for x in self.valid.split(4 * self.batch_size):
            terms = self.loss.terms(self.model, self.guide, x)
            total += (terms["reconstruction"] - terms["kl"]).sum()
        return total.item() / len(self.valid)

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
        """Save no weights that the last step spoilt; at the end of an epoch the validation would tell."""
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
        if self.folder is None:
            self._keeps(None)
            return
        state = {
            **self.best,
            "classes": {name: type(module).__name__ for name, module in self.modules.items()},
            "last": {**self._weights(), **self.step.state_dict(), "loss": self.loss.state_dict()},
            "history": self.result.history,
            "best_epoch": self.result.best_epoch,
            "unfinished": unfinished,
        }
        self.folder.write_checkpoint(state)
        self.folder.write_metrics(self.result.history)
        self._keeps(unfinished)
        self.watch.restart()
        if self.watch.terminated:
            raise KeyboardInterrupt
