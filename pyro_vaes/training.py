"""Training: ``fit``. (Its module has another name so that ``pyro_vaes.fit`` is always the function.)"""

from __future__ import annotations

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

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError, NonFiniteError, check_whole, unknown
from pyro_vaes.losses import Loss, default_loss
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.runs import RunFolder, load_weights
from pyro_vaes.step import OPTIMIZERS, EagerStep
from pyro_vaes.vae import unchanged_store

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
        interrupted: whether Ctrl-C ended the training.
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
        resume: whether to go on with the run that ``out`` holds, from its last whole epoch.
        progress: whether to show a progress bar.
        step: how a step is run: ``"eager"``; ``"auto"`` picks.
        ema: decay of the weights' exponential moving average; validation and the weights that are kept are then the
            averaged ones; None for none.
        optimizer: ``"adam"`` or ``"adamax"``.
        cluster_epoch: epoch after which Gaussian mixture priors are set to the clusters that the codes form, see
            ``models.initialize_from_codes``; weights from before are not kept as the best. 0 for never.
        config: what ``config.yaml`` says; by default the arguments of this call.

    Returns:
        The run. Ctrl-C ends it after the last whole epoch, without an exception.

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
    with torch.random.fork_rng([chosen] if chosen.type == "cuda" else []):
        torch.manual_seed(seed)
        training.prepare(initialize=not resume)
        training.step = EagerStep(model, guide, loss, lr, optimizer, ema)
        if out is not None:
            training.open_folder(RunFolder(out), config or settings, overwrite, resume)
        with unchanged_store(), pyro.validation_enabled(False):
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
    if step not in ("auto", "eager"):
        raise InputError(f"step is {step!r}: expected 'auto' or 'eager'")


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

    def open_folder(self, folder: RunFolder, config: Mapping[str, Any], overwrite: bool, resume: bool) -> None:
        """Claim the run folder, and go on where its checkpoint ends."""
        folder.claim(overwrite, resume)
        self.folder, self.result.path = folder, folder.path
        if resume:
            state = folder.read_checkpoint()
            for name, module in self.modules.items():
                load_weights(module, state, name, last=True)
            self.step.load_state_dict(state["last"])
            self.best = {name: state[name] for name in self.modules}
            self.result.history, self.result.best_epoch = state["history"], state["best_epoch"]
        folder.write_config(config)

    def run(self, epochs: int, progress: bool) -> None:
        """Train up to so many epochs, then take the best weights."""
        done = len(self.result.history)
        with tqdm(
            total=epochs * len(self.train),
            initial=done * len(self.train),
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
        self._switch(training=False)
        if self.result.history:
            for name, module in self.modules.items():
                module.load_state_dict(self.best[name])

    def _switch(self, training: bool) -> None:
        """Into training or evaluation mode, which dropout and batch norm heed."""
        for module in self.modules.values():
            module.train(training)

    def _epoch(self, epoch: int, bar: Any) -> None:
        start = time.perf_counter()
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        if self.cluster_epoch and epoch == self.cluster_epoch + 1:
            initialize_from_codes(self.model, self.guide, self.train.prepare(self.train.raw[:LOOK]))
        self._switch(training=True)
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator, device=self.device)
        records: list[Tensor] = []
        for index in order.split(self.batch_size):
            records.append(self.step(self.train.prepare(self.train.raw[index], generator)))
            if len(records) % CHECK_EVERY == 0:
                self._check_finite(records[-CHECK_EVERY:], epoch, len(records) - CHECK_EVERY)
            bar.update(len(index))
        remaining = len(records) % CHECK_EVERY
        self._check_finite(records[len(records) - remaining :], epoch, len(records) - remaining)
        means = (torch.stack(records).sum(0) / len(self.train)).tolist()
        trained = time.perf_counter()
        row = dict(zip(self.step.names, means, strict=True))
        valid = self._assess(epoch)
        row = {
            "epoch": epoch,
            "train_elbo": row["reconstruction"] - row["kl"],
            "valid_elbo": valid,
            **row,
            "step_ms": 1e3 * (trained - start) / len(records),
            "seconds": time.perf_counter() - start,
        }
        self.result.history.append(row)
        self._save()
        bar.set_postfix_str(f"epoch {epoch} ELBO train {row['train_elbo']:.2f} valid {valid:.2f} nats", refresh=False)

    def _assess(self, epoch: int) -> float:
        """Validate the weights, the averaged ones if there are any, and keep them where they are the best so far."""
        with self.step.averaged():
            valid = self._validate()
            if not math.isfinite(valid):
                raise NonFiniteError(f"epoch {epoch}: the validation ELBO is {valid}; {self._kept()}")
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

    def _check_finite(self, records: list[Tensor], epoch: int, before: int) -> None:
        if not records:
            return
        table = torch.stack(records)
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
            f"{self._kept()}. A smaller lr often helps"
        )

    def _kept(self) -> str:
        if not self.result.history:
            return "no epoch was finished, nothing is kept"
        where = "" if self.folder is None else f" in {self.folder.path}"
        return f"the checkpoint of epoch {len(self.result.history)}{where} is kept"

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
            for name, module in self.modules.items()
        }

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {
            **self.best,
            "classes": {name: type(module).__name__ for name, module in self.modules.items()},
            "last": {**self._weights(), **self.step.state_dict()},
            "history": self.result.history,
            "best_epoch": self.result.best_epoch,
        }
        self.folder.write_checkpoint(state)
        self.folder.write_metrics(self.result.history)
