"""Training: ``fit``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import nn
from tqdm.auto import tqdm

from pyro_vaes.data import Data
from pyro_vaes.data.check import check_data
from pyro_vaes.data.streaming import room_for
from pyro_vaes.losses import Loss, default_loss
from pyro_vaes.missing import missing_values
from pyro_vaes.param_store import adopt_loaded, without_registration
from pyro_vaes.recipes.spec import description
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.checkpointing import BestWeights, Checkpoint
from pyro_vaes.training.distributed import process_group
from pyro_vaes.training.early_stopping import EarlyStopping
from pyro_vaes.training.finite import FiniteChecks
from pyro_vaes.training.initialization import ClusterInitialization, initialize, start_from
from pyro_vaes.training.lr_schedules import LRSchedule, build_lr_schedule
from pyro_vaes.training.optimizers import OptimizerFactory, check_optimizer
from pyro_vaes.training.pair import check_pair
from pyro_vaes.training.progress import Progress
from pyro_vaes.training.run import Run
from pyro_vaes.training.single_thread import only_thread
from pyro_vaes.training.state import TrainingState
from pyro_vaes.training.step_kind import STEPS, choose_step
from pyro_vaes.training.tensorboard import TensorBoardCallback
from pyro_vaes.training.trainer import Trainer
from pyro_vaes.training.validate import (
    check_callbacks,
    check_clip_norm,
    check_clusters,
    check_ema,
    check_given,
    check_lr,
    check_means,
    check_patience,
    check_shards,
)
from pyro_vaes.vae import Guide
from pyro_vaes.validation import check_positive, check_seed, check_whole, choose_device


def fit(
    model: nn.Module,
    guide: nn.Module,
    data: Data,
    loss: Loss | None = None,
    *,
    epochs: int = 20,
    patience: int | None = None,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: str | LRSchedule | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    step: str = "auto",
    ema: float | None = None,
    optimizer: str | OptimizerFactory = "adam",
    clip_norm: float | None = None,
    cluster_epoch: int = 0,
    config: Mapping[str, Any] | None = None,
    checkpoint_minutes: float = 10.0,
    precision: str = "float32",
    callbacks: Sequence[Callback] = (),
    start: Guide | None = None,
    labels: bool = False,
) -> Run:
    """Train model and guide by gradient; leave them in evaluation mode, with the weights of the best validation ELBO.

    Torch's global random state is left as it was, and Pyro's parameter store is not touched. The order of the
    examples depends on ``seed`` and the epoch alone. Weights in float64 are trained in float64. Started by
    ``torchrun``, or in a process group of torch, all processes train one model: each takes its part of every batch of
    ``batch_size``, and the first one writes. Pyro's effect handlers are global to a process, so that threads must not
    train at the same time: trainings in parallel take a process each.

    A guide with a ``warmup`` is a simpler one in that many steps at the start, at most two fifths of all, but not in
    the validation after each epoch: ``train_elbo`` is then that of the simpler guide, ``valid_elbo`` that of the guide
    as it is used. Then the optimizer's moments and the average of the weights start again, as for a new objective.

    Args:
        model: a Pyro model that is a module, called with a batch.
        guide: its guide, a module too, built on this model. All weights of both are ``nn.Parameter``.
        data: the training and validation data.
        loss: the objective; by default the one that the guide asks for, ``ELBO()`` for most.
        epochs: number of passes through the training data, at most.
        patience: number of epochs without a rise of ``valid_elbo`` after which the training ends; epochs up to
            ``cluster_epoch``, and of the guide's warm-up, do not count. None for no such end.
        batch_size: examples per gradient step.
        lr: the optimizer's learning rate.
        schedule: schedule of the learning rate, by name with options: ``"constant(warmup=500)"``, a linear warm-up over
            500 gradient steps; ``"cosine(warmup=500)"``, which then falls to 0 over the steps of all ``epochs``;
            ``"plateau(factor=0.5, patience=5)"``, halved after 5 epochs without a rise of ``valid_elbo``. Or a function
            of the gradient step, counted from 0, that gives the factor of the learning rate. None keeps it as it is.
        seed: fixes the order of the examples and all noise.
        device: ``"auto"`` (the first GPU, else the CPU) or a torch device.
        out: run folder to write ``config.yaml``, ``metrics.jsonl`` and ``checkpoint.pt`` to, and TensorBoard's event
            files if it is installed; None writes nothing.
        overwrite: whether to replace the run that ``out`` holds.
        resume: whether to continue the run that ``out`` holds, from its last checkpoint; on a CPU the weights are
            then, to the bit, those of a run without a break. Options that differ from those of the checkpoint, such as
            ``lr``, hold from there on; another kind of loss, optimizer or average is refused. The warm-up of a guide
            stays as long as it was, also if there are more ``epochs`` now.
        progress: whether to show a progress bar; in a log file it is one line per epoch, at most every 30 seconds.
        step: how a step is run: ``"eager"``, operation by operation; ``"compiled"``, from a graph that is traced and
            compiled first, which takes some tens of seconds; ``"graph"``, as one CUDA graph; ``"auto"``, a graph on a
            GPU, compiled on a CPU if there are enough steps to repay it, and eager if the loss allows neither.
        ema: decay of the weights' exponential moving average; validation and the weights that are kept are then the
            averaged ones; None for none.
        optimizer: name of a class of ``torch.optim`` with options, such as ``"adamw(weight_decay=0.01)"``, or a
            function that takes the weights and ``lr``, such as the class itself.
        clip_norm: largest Euclidean norm of the gradients of all weights together, to which they are scaled down if
            theirs is larger; None for no clipping.
        cluster_epoch: epoch after which Gaussian mixture priors are set to the clusters that the codes form, see
            ``models.initialize_from_codes``; weights from before are not kept as the best. 0 for never.
        config: content of ``config.yaml``; by default the arguments of this call.
        checkpoint_minutes: minutes after which a checkpoint is written inside an epoch too, not at its end alone.
        precision: ``"float32"``, or ``"bfloat16"`` for the layers of networks, densities and all else in float32.
        callbacks: instances of :class:`pyro_vaes.training.Callback`, called in this order.
        start: a trained :class:`~pyro_vaes.guides.MeanField` guide, from which the guide starts, see
            ``Guide.start_from``; the model gets the weights of its model, unless the two share one. A resumed training
            goes on from its checkpoint.
        labels: whether model and guide get the labels y of the data if they take some that they can do without; labels
            that they require they get in any case. An unknown label is -1.

    Returns:
        The run. Ctrl-C ends it after the last whole epoch, without an exception. With ``out``, in the main thread,
        SIGTERM ends it after the step under way: a checkpoint is written, and then the signal goes on to whoever
        handled it before; by default it ends the process.

    Raises:
        InputError: If settings, data or the run folder cannot be used, before any training.
        NonFiniteError: If the loss is not finite; the last good checkpoint stays.

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("digits")
        >>> run = pv.fit(vae, pv.guides.MeanField(vae, encoder), data, epochs=2, progress=False)
        >>> [row["epoch"] for row in run.history], run.history[1]["valid_elbo"] > run.history[0]["valid_elbo"]
        ([1, 2], True)
    """
    dtype = check_pair(model, guide)
    check_data(data)
    adopt_loaded(model, guide)
    loss = loss or default_loss(guide)
    epochs, batch_size = check_whole("epochs", epochs), check_whole("batch_size", batch_size)
    seed, lr, ema, clip_norm = check_seed(seed), check_lr(lr), check_ema(ema), check_clip_norm(clip_norm)
    check_optimizer(optimizer, lr)
    check_means(loss, step, precision)
    check_positive("checkpoint_minutes", checkpoint_minutes, "a positive number of minutes, such as 10")
    num_steps = epochs * -(-len(data.train) // batch_size)
    lr_schedule = build_lr_schedule(schedule, num_steps)
    cluster_epoch, patience = check_clusters(model, guide, cluster_epoch), check_patience(patience)
    check_callbacks(callbacks)
    given = check_given(model, guide, data, labels)
    check_whole("guide.warmup", getattr(guide, "warmup", 0), least=0)
    with (
        only_thread(),
        process_group() as group,
        missing_values(data.has_missing),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        with group.raise_together():
            chosen = choose_device(device)
            check_shards(group.size, loss, model, guide)
        settings = Settings(
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            lr=lr,
            schedule=None if schedule is None else description(schedule),
            optimizer=description(optimizer),
            clip_norm=clip_norm,
            ema=ema,
            cluster_epoch=cluster_epoch,
            seed=seed,
            device=str(chosen),
            step=step,
            precision=precision,
        )
        described = {"data": data.description, "loss": type(loss).__name__, **settings.training}
        model.to(chosen), guide.to(chosen)
        train = data.train.to(chosen if room_for(data.train.pixels, chosen) else "cpu", dtype)
        valid = data.valid.x.to(chosen, dtype)
        valid_given = data.valid.given(given).to(valid)
        with torch.random.fork_rng([chosen] if chosen.type == "cuda" else []):
            torch.manual_seed(seed)
            with group.raise_together():
                if start is not None and not resume:
                    start_from(model, guide, start)
                initialize(model, guide, loss, train, batch_size, chosen, resume, given)
            group.broadcast_weights([model, guide])
            kind = choose_step(step, chosen, num_steps)
            gradient_step = STEPS[kind[0]](model, guide, loss, lr, optimizer, ema, precision, lr_schedule, clip_norm)
            gradient_step.given = given
            gradient_step.group, gradient_step.warmup = group, min(getattr(guide, "warmup", 0), 2 * num_steps // 5)
            state, finite = TrainingState(gradient_step, len(train), seed, chosen, cluster_epoch), FiniteChecks()
            before: list[Callback] = [finite, BestWeights(cluster_epoch)]
            after: list[Callback] = []
            deferred: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
            if cluster_epoch:
                before.append(ClusterInitialization(cluster_epoch, train))
            if isinstance(lr_schedule, Callback):
                after.append(lr_schedule)
            if patience is not None:
                after.append(EarlyStopping(patience))
            if out is not None:
                checkpoint = Checkpoint(RunFolder(out), checkpoint_minutes, finite)
                checkpoint.open(state, config or described, overwrite, resume)
                folder = state.path if group.first else None
                pair = gradient_step.bound(*valid_given.values())
                before.append(TensorBoardCallback(folder, *pair, valid, data.as_pixels))
                after.append(checkpoint)
                deferred = checkpoint.timer.defer_sigterm()
            shown = progress and group.first
            after.append(Progress(epochs, state.size, state.seen, shown))
            trainer = Trainer(state, train, (valid, *valid_given.values()), batch_size, [*before, *callbacks, *after])
            with without_registration(), pyro.get_param_store().scope(), pyro.validation_enabled(False):
                with group.raise_together():
                    taken = trainer.prepare(step, *kind)
                    if shown:
                        tqdm.write(f"step: {taken}", file=sys.stderr)
                with deferred, group.defer_interrupt():
                    trainer.run(epochs)
    stopped = len(state.history) < epochs and not trainer.interrupted
    return Run(state.history, state.path, state.best_epoch, trainer.interrupted, taken, stopped)
