"""The mean-field step against every rival in its best form, 784-500-500-50, batch 128, Bernoulli data.

All take turns in one process, 5 steps per turn, on a batch that is there already, with Adam and the KL in closed form
(stock `SVI` samples it). By hand in PyTorch the optimizer is fused, and the loss is also compiled by ``torch.compile``;
pythae's model has that optimizer too; JAX and NumPyro scan over the steps in one compiled function, with optax. The
matrix products alone, each by the faster of torch's BLAS and oneDNN, are a lower bound for torch in float32.

``OMP_NUM_THREADS=2 python -m benchmarks rivals`` gives all of them two threads.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pyro
import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.baselines import by_hand
from benchmarks.baselines.products import products_alone
from benchmarks.helpers.pairs import IMAGE, pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import interleaved, ratio
from benchmarks.pythae import networks
from benchmarks.step import BATCH, Prepare, Step, ours, stock
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.vae import Guide

STEPS, TURNS, WARM_UP = 5, 60, 4


def run(folders: Folders) -> list[Row]:
    calls: dict[str, Step] = {}
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for name, prepare in _ways():
            torch.manual_seed(0)
            x = torch.rand(BATCH, *IMAGE).round()
            try:
                calls[name] = prepare(*pair(), x)
            except ImportError as error:
                print(f"no {name}: {error}; pip install '.[bench]'")
        seconds = interleaved(calls, TURNS, WARM_UP)
    first = next(iter(seconds))
    return [
        {
            "rival": name,
            "ms": _spread([1e3 * each / STEPS for each in times]),
            "ratio": None if name == first else ratio(seconds[first], times),
        }
        for name, times in seconds.items()
    ]


def page(rows: Sequence[Row]) -> list[str]:
    cells = [[row["rival"], _shown(row["ms"]), "" if row["ratio"] is None else _shown(row["ratio"])] for row in rows]
    return [markdown_table(["step", "ms (quartiles)", "compiled, float32 / this (quartiles)"], cells)]


def _ways() -> Iterator[tuple[str, Prepare]]:
    """Functions that prepare STEPS steps at once, this library's first."""
    yield "compiled, float32", _repeated(partial(ours, CompiledStep))
    yield "compiled, bfloat16", _repeated(partial(ours, CompiledStep, precision="bfloat16"))
    yield "plain PyTorch", _repeated(by_hand.training)
    yield "plain PyTorch, torch.compile", _repeated(partial(by_hand.training, compiled=True))
    yield "stock SVI", _repeated(stock)
    yield "pythae", _repeated(_pythae)
    yield "JAX by hand", partial(_by_jax, "training")
    yield "NumPyro SVI", partial(_by_jax, "svi_training")
    yield "matrix products alone", _repeated(lambda vae, guide, x: products_alone(len(x)))


def _repeated(prepare: Prepare) -> Prepare:
    def prepare_all(vae: pv.VAE, guide: Guide, x: Tensor) -> Step:
        step = prepare(vae, guide, x)

        def call() -> None:
            for _ in range(STEPS):
                step()

        return call

    return prepare_all


def _by_jax(name: str, vae: pv.VAE, guide: Guide, x: Tensor) -> Step:
    from benchmarks.baselines import by_jax

    steps: Step = getattr(by_jax, name)(vae, guide, x, STEPS)
    return steps


def _pythae(vae: pv.VAE, guide: Guide, x: Tensor) -> Step:
    """A step of its model, as its trainer takes it, with the optimizer fused; its networks are its own."""
    from pythae.models import VAE, VAEConfig

    latent = vae.latent_dim
    model = VAE(VAEConfig(input_dim=IMAGE, latent_dim=latent, reconstruction_loss="bce"), *networks()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model({"data": x}).loss.backward()
        optimizer.step()

    return step


def _spread(values: Sequence[float]) -> Row:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "quartiles": [low, high]}


def _shown(found: Mapping[str, float | Sequence[float]]) -> str:
    low, high = found["quartiles"]
    return f"{found['median']:.3g} ({low:.3g} to {high:.3g})"
