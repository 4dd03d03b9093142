"""On a GPU: the step under every guide as a CUDA graph, and 100 epochs of MNIST.

``python -m benchmarks.gpu DATA`` needs one, and DATA with MNIST in torchvision's layout; the tables go to
``benchmarks/results/gpu.md``. Every call is timed until the GPU is done.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import pyro
import torch

import pyro_vaes as pv
from benchmarks import step
from benchmarks.__main__ import ratio_row, ratio_table
from benchmarks.timing import RESULTS
from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO


def main() -> None:
    """Run both, print and save them."""
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu needs a GPU, and torch sees none")
    data = pv.data.load("mnist", Path(sys.argv[1]), binarize="dynamic")
    with torch.device("cuda"):
        rows = [ratio_row(*found) for found in step.run(step.ON_GPU)]
    seconds = {kind: _train(data, kind) for kind in ("graph", "compiled", "eager")}
    where = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "pyro": pyro.__version__}
    where |= {"cuda": torch.version.cuda, "python": platform.python_version()}
    lines = [ratio_table(__doc__ or "", rows), "| step | seconds for 100 epochs of MNIST, validation included |"]
    lines += ["| --- | ---: |", *(f"| {kind} | {each:.1f} |" for kind, each in seconds.items())]
    lines += [
        "",
        f"`python -m benchmarks.gpu DATA`: {', '.join(f'{key} {value}' for key, value in where.items())}.",
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    found: dict[str, Any] = {"where": where, "rows": rows, "seconds": seconds}
    (RESULTS / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "gpu.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _train(data: pv.data.Data, kind: str) -> float:
    """Seconds of 100 epochs of the plain VAE, the capture included."""
    torch.manual_seed(0)
    shape = data.event_shape
    vae = pv.VAE(
        pv.networks.MLPDecoder(50, shape, (500, 500)), pv.priors.StandardNormal(50), pv.likelihoods.Bernoulli()
    )
    guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder(shape, (500, 500)))
    start = time.perf_counter()
    try:
        pv.fit(vae, guide, data, ELBO(), epochs=100, device="cuda", progress=False, step=kind)
    except InputError as error:
        print(error)
        return float("nan")
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
