"""Training in two processes against one, each with one thread: 784-500-500-50, mean-field, whole batches of 256.

Images per second of gloo processes, of which each trains 40 steps and validates once per turn.
"""

from __future__ import annotations

import os
import socket
import statistics
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import multiprocessing

import pyro_vaes as pv
from benchmarks.helpers.pairs import IMAGE, pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import interleaved, ratio
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.training.distributed import process_group

BATCH, STEPS, TURNS, PROCESSES = 256, 40, 7, 2


def run(folders: Folders) -> list[Row]:
    groups = {"one": Trainers(1), "several": Trainers(PROCESSES)}
    seconds = interleaved(groups, TURNS)
    for trainers in groups.values():
        trainers(more=False)
    one, several = (STEPS * BATCH / statistics.median(seconds[name]) for name in ("one", "several"))
    found = {"one_per_second": one, "several_per_second": several, "ratio": ratio(seconds["one"], seconds["several"])}
    return [{"processes": PROCESSES, **found}]


def page(rows: Sequence[Row]) -> list[str]:
    cells = []
    for row in rows:
        low, high = row["ratio"]["quartiles"]
        spread = f"{row['ratio']['median']:.2f} ({low:.2f} to {high:.2f}, {row['ratio']['turns']} turns)"
        cells.append([row["processes"], f"{row['several_per_second']:.0f}", f"{row['one_per_second']:.0f}", spread])
    return [markdown_table(["processes", "images per second", "of one process", "ratio (quartiles)"], cells)]


class Trainers:
    """Processes that train an epoch together each time they are called.

    Args:
        size: their number.
    """

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ends = [context.Pipe() for _ in range(size)]
        self.pipes = [near for near, _ in ends]
        for rank, (_, far) in enumerate(ends):
            context.Process(target=_train, args=(rank, size, port, far), daemon=True).start()

    def __call__(self, more: bool = True) -> None:
        """Train an epoch; without more to come, end the processes."""
        for pipe in self.pipes:
            pipe.send(more)
        if more:
            for pipe in self.pipes:
                pipe.recv()


def _train(rank: int, size: int, port: int, pipe: Connection) -> None:
    """Train an epoch upon each message, and answer when it is done."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = (255 * rng.random((BATCH * STEPS, *IMAGE))).astype(np.uint8)
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x[:BATCH], x_test=x[:BATCH], binarize="dynamic")
    vae, guide = pair()
    with process_group():
        while pipe.recv():
            pv.fit(vae, guide, data, epochs=1, batch_size=BATCH, step="eager", device="cpu", progress=False)
            pipe.send(True)
