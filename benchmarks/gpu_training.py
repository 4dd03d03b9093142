"""100 epochs of MNIST on a GPU, 784-500-500-50, batch 128: CUDA graph, compiled and eager steps.

DATA holds MNIST in torchvision's layout. Preparation of the step and validation are included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

import pyro_vaes as pv
from benchmarks.helpers.pairs import pair
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.reports.tables import markdown_table

EPOCHS, SEED = 100, 0


def run(folders: Folders) -> list[Row]:
    data = pv.data.load("mnist", folders.data, binarize="dynamic")
    return [{"step": kind, "seconds": _seconds(data, kind)} for kind in ("graph", "compiled", "eager")]


def page(rows: Sequence[Row]) -> list[str]:
    return [markdown_table(["step", "seconds"], [[row["step"], f"{row['seconds']:.1f}"] for row in rows])]


def _seconds(data: pv.data.Data, kind: str) -> float:
    torch.manual_seed(SEED)
    vae, guide = pair()
    start = time.perf_counter()
    pv.fit(vae, guide, data, epochs=EPOCHS, seed=SEED, device="cuda", progress=False, step=kind)
    torch.cuda.synchronize()
    return time.perf_counter() - start
