"""The gradient step under every guide on a GPU, 784-500-500-50, batch 128: CUDA graph, compiled and eager.

Each call is timed until the GPU has finished.
"""

from __future__ import annotations

import torch

from benchmarks import step
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import ratio_rows, ratio_table
from pyro_vaes.training.cuda_graph_step import GraphStep

page = ratio_table


def run(folders: Folders) -> list[Row]:
    with torch.device("cuda"):
        return ratio_rows(step.cases({"graph": GraphStep, **step.KINDS}))
