"""How the cost of an eager step grows: batch, latent size, image size, components, particles.

Each case runs in a process of its own, whose peak memory is what it took above that of the imports. The Laplace guide
stops at 128 dimensions, since a step at 512 takes tens of seconds.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

import pyro_vaes as pv
from benchmarks.helpers.pairs import pair
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.recipes.spec import instantiate
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.training.step import EagerStep

WARM_UP, STEPS = 2, 7
BASE: dict[str, Any] = {"batch": 128, "latent": 50, "side": 28, "guide": "mean-field", "particles": 1}
CASES: dict[str, list[dict[str, Any]]] = {
    "batch": [{"batch": size} for size in (32, 128, 512, 2048)],
    "latent size": [{"latent": size} for size in (8, 32, 128, 512)],
    "latent size, laplace": [{"latent": size, "guide": "laplace"} for size in (8, 32, 128)],
    "latent size, full-covariance": [{"latent": size, "guide": "full-covariance"} for size in (8, 32, 128, 512)],
    "image side": [{"side": side} for side in (14, 28, 56, 112)],
    "components": [{"guide": f"recursive-mixture(components={number})"} for number in (1, 2, 4, 8)],
    "particles": [{"particles": number} for number in (1, 4, 16, 64)],
}


def run(folders: Folders) -> list[Row]:
    """One row per case: median ms per step, and peak memory in MiB."""
    cases = [{"grows": grows, "case": case} for grows, cases in CASES.items() for case in cases]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return [row | found for row, found in zip(cases, pool.map(_measure, cases), strict=True)]


def page(rows: Sequence[Row]) -> list[str]:
    cells = [
        [row["grows"], ", ".join(f"{k} {v}" for k, v in row["case"].items()), f"{row['ms']:.1f}", f"{row['mib']:.0f}"]
        for row in rows
    ]
    return [markdown_table(["grows", "case", "ms per step", "peak memory, MiB"], cells)]


def _measure(row: Row) -> Row:
    """One case, in this process."""
    case = BASE | row["case"]
    shape = (1, case["side"], case["side"])
    x = torch.rand(case["batch"], *shape).round()
    before = _peak()
    build = partial(instantiate, "guide", pv.guides, pv.Guide, case["guide"])
    vae, guide = pair(build, latent=case["latent"], shape=shape)
    loss = ELBO(num_particles=case["particles"]) if case["particles"] > 1 else default_loss(guide)
    step, seconds = EagerStep(vae, guide, loss, lr=1e-3), []
    with restored_param_store():
        for _ in range(WARM_UP + STEPS):
            start = time.perf_counter()
            step(x)
            seconds.append(time.perf_counter() - start)
    return {"ms": 1e3 * statistics.median(seconds[WARM_UP:]), "mib": _peak() - before}


def _peak() -> float:
    """Peak memory of this process so far, MiB; unlike that of ``getrusage`` it does not start at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
