"""Training by two processes against one, each with one thread: 784-500-500-50, mean-field, whole batches of 256."""

from __future__ import annotations

import os
import platform
import socket
import statistics
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import multiprocessing

import pyro_vaes as pv
from benchmarks.timing import RESULTS, in_turn
from pyro_vaes.training.distributed import joined

BATCH, LATENT, HIDDEN, SHAPE, STEPS, TURNS, PROCESSES = 256, 50, (500, 500), (1, 28, 28), 40, 7, 2


def trained(rank: int, size: int, port: int, told: Connection) -> None:
    """Train whenever asked to, as one of several processes, and answer when it is done."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = (255 * rng.random((BATCH * STEPS, *SHAPE))).astype(np.uint8)
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x[:BATCH], x_test=x[:BATCH], binarize="dynamic")
    vae = pv.VAE(
        pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN), pv.priors.StandardNormal(LATENT), pv.likelihoods.Bernoulli()
    )
    guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN))
    with joined():
        while told.recv():
            pv.fit(vae, guide, data, epochs=1, batch_size=BATCH, step="eager", device="cpu", progress=False)
            told.send(True)


class Trainers:
    """Processes that wait for the call to train together.

    Args:
        size: how many they are.
    """

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ends = [context.Pipe() for _ in range(size)]
        self.told = [near for near, _ in ends]
        for rank, (_, far) in enumerate(ends):
            context.Process(target=trained, args=(rank, size, port, far), daemon=True).start()

    def __call__(self, more: bool = True) -> None:
        """Train an epoch together; without more to come, end."""
        for near in self.told:
            near.send(more)
        if more:
            for near in self.told:
                near.recv()


def main() -> None:
    """Print and save the figures."""
    rivals = {"one": Trainers(1), "two": Trainers(PROCESSES)}
    seconds = in_turn(rivals, TURNS)
    for trainers in rivals.values():
        trainers(more=False)
    turns = [one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    low, middle, high = statistics.quantiles(turns, n=4)
    one, two = (STEPS * BATCH / statistics.median(times) for times in seconds.values())
    text = (
        f"# {(__doc__ or '').strip()}\n\n"
        f"Two gloo processes train {middle:.2f} times as many images a second as one ({two:.0f} against {one:.0f}; "
        f"quartiles {low:.2f} to {high:.2f} over {TURNS} turns, of {STEPS} steps and a validation each).\n\n"
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}; run again: `python -m benchmarks.parallel`\n"
    )
    (RESULTS / "parallel.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
