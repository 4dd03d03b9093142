"""A step of whole trainings, after the first epoch: ``fit`` against pythae's trainer, 784-500-500-50, batch 128.

Both train on the same binary images in memory, load the batches, and log: losses, a hidden progress bar, the best
weights so far. pythae has no evaluation set, ``fit`` has one image to validate on. The first epoch and whatever either
does once are left out: an epoch of pythae is timed from its callback at the start to that of its log, one of ``fit`` by
its ``seconds``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import pyro_vaes as pv
from benchmarks.helpers.pairs import HIDDEN, IMAGE, LATENT, pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import Seconds, ratio_rows, ratio_table

IMAGES, BATCH, EPOCHS, TURNS = 10_000, 128, 3, 3
STEPS = -(-IMAGES // BATCH)  # per epoch

page = ratio_table


def run(folders: Folders) -> list[Row]:
    return ratio_rows([("a training's step", _seconds())])


def _seconds() -> Seconds:
    """Seconds per step of each epoch but the first, the trainings taking turns."""
    x = torch.rand(IMAGES, *IMAGE, generator=torch.Generator().manual_seed(0)).round()
    trainings: dict[str, Callable[[Tensor], list[float]]] = {
        "compiled": partial(_fit, "compiled"),
        "eager": partial(_fit, "eager"),
        "pythae": partial(_pythae, {}),
        "pythae, fused Adam": partial(_pythae, {"fused": True}),
    }
    seconds: Seconds = {name: [] for name in trainings}
    with _quiet():
        for _ in range(TURNS):
            for name, train in trainings.items():
                seconds[name] += [epoch / STEPS for epoch in train(x)[1:]]
    return seconds


def _fit(step: str, x: Tensor) -> list[float]:
    """Seconds of each epoch."""
    vae, guide = pair()
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x[:1], x_test=x[:1])
    history = pv.fit(vae, guide, data, epochs=EPOCHS, batch_size=BATCH, device="cpu", step=step).history
    return [row["seconds"] for row in history]


def _pythae(adam: dict[str, Any], x: Tensor) -> list[float]:
    """Seconds of each epoch; ``adam`` holds options of the optimizer."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Clock(TrainingCallback):
        def __init__(self) -> None:
            self.starts: list[float] = []
            self.ends: list[float] = []

        def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
            self.starts.append(time.perf_counter())

        def on_log(self, training_config: BaseTrainerConfig, logs: Any, **kwargs: Any) -> None:
            self.ends.append(time.perf_counter())

    model = VAE(VAEConfig(input_dim=IMAGE, latent_dim=LATENT, reconstruction_loss="bce"), *networks())
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_epochs=EPOCHS,
            learning_rate=1e-3,
            optimizer_params=adam or None,
            no_cuda=True,
        )
        clock = Clock()
        BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config, callbacks=[clock]).train()
    return [end - start for start, end in zip(clock.starts, clock.ends, strict=True)]


def networks() -> tuple[nn.Module, nn.Module]:
    """The same networks, with the outputs that pythae expects."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(pv.networks.MLPEncoder(IMAGE, HIDDEN), nn.Linear(HIDDEN[-1], 2 * LATENT))

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = pv.networks.MLPDecoder(LATENT, IMAGE, HIDDEN)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    return Encoder(), Decoder()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that hides progress bars and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)
