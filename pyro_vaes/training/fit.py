"""Training: ``fit``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from torch import nn

from pyro_vaes.data import Data
from pyro_vaes.losses import Loss, default_loss
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.distributed import process_group
from pyro_vaes.training.signals import CheckpointTimer
from pyro_vaes.training.step_kind import STEPS, choose_step
from pyro_vaes.training.trainer import Run, _Training
from pyro_vaes.training.validate import (
    check_budget,
    check_clusters,
    check_means,
    check_minutes,
    check_optimizer,
    check_shards,
)
from pyro_vaes.validation import check_seed, choose_device


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
    precision: str = "float32",
) -> Run:
    """Train model and guide by gradient; leave them in evaluation mode, with the weights of the best validation ELBO.

    Torch's global random state is left as it was, and Pyro's parameter store is not touched. The order of the
    data depends on ``seed`` and the epoch alone. Started by ``torchrun``, or in a process group of torch, all processes
    train one model: each takes its part of every batch of ``batch_size``, and the first one writes.

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
        out: run folder to write ``config.yaml``, ``metrics.jsonl`` and ``checkpoint.pt`` to, and what TensorBoard shows
            where it is installed; None writes nothing.
        overwrite: whether to replace the run that ``out`` holds.
        resume: whether to go on with the run that ``out`` holds, from its last checkpoint; on a CPU the weights are
            then, to the bit, those of a run without a break.
        progress: whether to show a progress bar; in a log file it is a line an epoch, at most every 30 seconds.
        step: how a step is run: ``"eager"``, operation by operation; ``"compiled"``, from a graph that is traced and
            compiled first, which takes some tens of seconds; ``"graph"``, as one CUDA graph; ``"auto"``, a graph on a
            GPU, compiled on a CPU where there are enough steps to repay it, and eager where the loss allows neither.
        ema: decay of the weights' exponential moving average; validation and the weights that are kept are then the
            averaged ones; None for none.
        optimizer: ``"adam"`` or ``"adamax"``.
        cluster_epoch: epoch after which Gaussian mixture priors are set to the clusters that the codes form, see
            ``models.initialize_from_codes``; weights from before are not kept as the best. 0 for never.
        config: what ``config.yaml`` says; by default the arguments of this call.
        checkpoint_minutes: after so long a checkpoint is written inside an epoch too, not at its end alone.
        precision: ``"float32"``, or ``"bfloat16"`` for the layers of networks, densities and all else in float32.

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
    check_means(loss, step, precision)
    check_minutes(checkpoint_minutes)
    check_clusters(model, guide, cluster_epoch)
    with process_group() as group:
        with group.raise_together():
            chosen = choose_device(device)
            check_shards(group.size, loss, model, guide)
        settings = {
            "data": data.description,
            "loss": type(loss).__name__,
            "epochs": epochs,
            "batch_size": batch_size,
        }
        settings |= {"lr": lr, "optimizer": optimizer, "ema": ema, "cluster_epoch": cluster_epoch}
        settings |= {"seed": seed, "device": str(chosen), "step": step, "precision": precision}
        training = _Training(model.to(chosen), guide.to(chosen), data, loss, batch_size, seed, chosen, cluster_epoch)
        training.timer, training.group = CheckpointTimer(checkpoint_minutes), group
        with torch.random.fork_rng([chosen] if chosen.type == "cuda" else []):
            torch.manual_seed(seed)
            with group.raise_together():
                training.prepare(initialize=not resume)
            group.broadcast_weights(training.modules.values())
            kind = choose_step(step, chosen, epochs * -(-len(data.train) // batch_size))
            training.step = STEPS[kind[0]](model, guide, loss, lr, optimizer, ema, precision)
            training.step.group = group
            if out is not None:
                training.open_folder(RunFolder(out), config or settings, overwrite, resume)
            with restored_param_store(), pyro.validation_enabled(False):
                with group.raise_together():
                    training.capture(step, *kind, progress and group.first)
                training.run(epochs, progress and group.first)
    return training.result
