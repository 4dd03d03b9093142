"""20 epochs of static MNIST by ``fit``, compilation included, against the same training by hand, 784-500-500-50.

50,000 images in batches of 128, and the ELBO of 10,000 validation images after each epoch; by hand the optimizer is
fused, and ``fit`` keeps the best weights and a history. Whole processes are timed, from the import of torch to the last
epoch, with an empty cache of compiled code.

DATA holds `binarized-mnist.npz`; ``OMP_NUM_THREADS=2 python -m benchmarks fit DATA`` gives all of them two threads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

import pyro_vaes as pv
from benchmarks.baselines import by_hand
from benchmarks.helpers.pairs import pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import interleaved, ratio_rows, ratio_table
from benchmarks.helpers.trainings import in_processes

EPOCHS, BATCH, TURNS = 20, 128, 3


def run(folders: Folders) -> list[Row]:
    ways = {"fit": partial(_in_process, _fit, folders.data), "by hand": partial(_in_process, _by_hand, folders.data)}
    return ratio_rows([("static MNIST", interleaved(ways, TURNS, warmup=0))])


def page(rows: Sequence[Row]) -> list[str]:
    return ratio_table(rows)


def _in_process(train: Callable[[Path], None], data: Path) -> None:
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # which the process inherits
        in_processes(train, [data])


def _load(data: Path) -> pv.data.Data:
    return pv.data.load("binarized-mnist", data / "binarized-mnist.npz")


def _fit(data: Path) -> None:
    pv.fit(*pair(), _load(data), epochs=EPOCHS, batch_size=BATCH, device="cpu", progress=False)


def _by_hand(data: Path) -> None:
    vae, guide = pair()
    loss = partial(by_hand.LOSSES[type(guide)], vae, guide)
    loaded = _load(data)
    train, valid = loaded.train.x, loaded.valid.x
    optimizer = torch.optim.Adam([*vae.parameters(), *guide.parameters()], lr=1e-3, fused=True)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(train[index]).backward()
            optimizer.step()
        with torch.no_grad():
            torch.stack([loss(x) for x in valid.split(BATCH)]).mean().item()
