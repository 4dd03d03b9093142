"""A step of whole trainings, after the first epoch: ``fit`` against pythae's trainer, 784-500-500-50, batch 128.

Both train on the same binary images in memory, load the batches, and keep their own books: losses, a progress bar that
goes nowhere, the best weights so far. pythae has no evaluation set, ``fit`` has one image to validate on. Left out is
the first epoch, and what either does once: pythae's epochs run from its callback at their start to that of their log,
those of ``fit`` are its ``seconds``.
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

IMAGES, BATCH, LATENT, HIDDEN, SHAPE, EPOCHS, TURNS = 10_000, 128, 50, (500, 500), (1, 28, 28), 3, 3
STEPS = -(-IMAGES // BATCH)  # an epoch


def run() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a step of each epoch but the first, the trainings taking turns."""
    x = torch.rand(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(0)).round()
    rivals: dict[str, Callable[[Tensor], list[float]]] = {
        "compiled": partial(_fit, "compiled"),
        "eager": partial(_fit, "eager"),
        "pythae": partial(_pythae, {}),
        "pythae, fused Adam": partial(_pythae, {"fused": True}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    with _quiet():
        for _ in range(TURNS):
            for name, train in rivals.items():
                seconds[name] += [epoch / STEPS for epoch in train(x)[1:]]
    yield "a training's step", seconds


def _fit(step: str, x: Tensor) -> list[float]:
    """Seconds of each epoch."""
    decoder = pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN)
    vae = pv.VAE(decoder, pv.priors.StandardNormal(LATENT), pv.likelihoods.Bernoulli())
    guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN))
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x[:1], x_test=x[:1])
    history = pv.fit(vae, guide, data, epochs=EPOCHS, batch_size=BATCH, device="cpu", step=step).history
    return [row["seconds"] for row in history]


def _pythae(adam: dict[str, Any], x: Tensor) -> list[float]:
    """Seconds of each epoch; ``adam`` are options of the optimiser."""
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

    model = VAE(VAEConfig(input_dim=SHAPE, latent_dim=LATENT, reconstruction_loss="bce"), *_networks())
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


def _networks() -> tuple[nn.Module, nn.Module]:
    """The same networks, with the outputs that pythae asks for."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(pv.networks.MLPEncoder(SHAPE, HIDDEN), nn.Linear(HIDDEN[-1], 2 * LATENT))

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    return Encoder(), Decoder()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Bars and logs go nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)
