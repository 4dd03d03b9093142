"""How the cost of an eager step grows: batch, latent size, image size, components, particles.

Each case runs in a process of its own, whose peak memory is what it took above that of the imports. The Laplace guide
stops at 128 dimensions: at 512 a step of it takes tens of seconds.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from pyro_vaes.recipes.spec import instantiate

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


def run() -> Iterator[tuple[str, dict[str, Any], float, float]]:
    """What grows, the case, the median of its milliseconds a step, and its peak memory in MiB."""
    for growing, cases in CASES.items():
        for case in cases:
            words = [sys.executable, "-m", "benchmarks.growth", json.dumps(BASE | case)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            yield growing, case, found["ms"], found["mib"]


def _measure(batch: int, latent: int, side: int, guide: str, particles: int) -> dict[str, float]:
    """One case, in this process."""
    import torch

    import pyro_vaes as pv
    from pyro_vaes.losses import ELBO, default_loss
    from pyro_vaes.param_store import restored_param_store
    from pyro_vaes.training.step import EagerStep
    from pyro_vaes.vae import Guide

    shape = (1, side, side)
    x = torch.rand(batch, *shape).round()
    before = _peak()
    decoder = pv.networks.MLPDecoder(latent, shape, (500, 500))
    vae = pv.VAE(decoder, pv.priors.StandardNormal(latent), pv.likelihoods.Bernoulli())
    made = instantiate("guide", pv.guides, Guide, guide, vae, pv.networks.MLPEncoder(shape, (500, 500)))
    loss = ELBO(num_particles=particles) if particles > 1 else default_loss(made)
    step, seconds = EagerStep(vae, made, loss, lr=1e-3), []
    with restored_param_store():
        for _ in range(WARM_UP + STEPS):
            start = time.perf_counter()
            step(x)
            seconds.append(time.perf_counter() - start)
    return {"ms": 1e3 * sorted(seconds[WARM_UP:])[STEPS // 2], "mib": _peak() - before}


def _peak() -> float:
    """Peak memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(_measure(**json.loads(sys.argv[1]))))
