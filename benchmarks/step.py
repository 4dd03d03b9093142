"""The gradient step under every guide, 784-500-500-50, batch 128: compiled and eager against plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

import pyro_vaes as pv
from benchmarks.baselines import by_hand
from benchmarks.baselines.products import products_alone
from benchmarks.helpers.pairs import IMAGE, pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import Seconds, interleaved, ratio_rows, ratio_table
from pyro_vaes.losses import default_loss
from pyro_vaes.param_store import without_registration
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.step import CannotCompile, EagerStep
from pyro_vaes.vae import Guide

BATCH = 128
TURNS = {pv.guides.Laplace: 11}  # whose baseline takes a second per step; 100 for all others
OPTIONS: dict[type[Guide], dict[str, Any]] = {pv.guides.SemiAmortized: {"steps": 8}}
KINDS: dict[str, type[EagerStep]] = {"compiled": CompiledStep, "eager": EagerStep}

Step = Callable[[], object]
Prepare = Callable[[pv.VAE, Guide, Tensor], Step]  # from a pair and a batch to a step on it

page = ratio_table


def run(folders: Folders) -> list[Row]:
    return ratio_rows(cases(KINDS))


def cases(kinds: Mapping[str, type[EagerStep]]) -> Iterator[tuple[str, Seconds]]:
    """Seconds per step, one case per guide with its default loss, on torch's default device."""
    x = _batch()
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for guide in by_hand.LOSSES:
            ways: dict[str, Prepare] = {name: partial(ours, kind) for name, kind in kinds.items()}
            ways["plain PyTorch"] = by_hand.training
            if guide is pv.guides.MeanField:
                ways["stock SVI"] = stock
            steps: dict[str, Step] = {}
            for name, prepare in ways.items():
                try:
                    steps[name] = _training(prepare, guide, x)
                except CannotCompile as error:
                    print(f"{_case(guide)}: no {name} step, {error}")
            if guide is pv.guides.MeanField:
                steps["matrix products alone"] = products_alone(BATCH)
            yield _case(guide), interleaved(steps, TURNS.get(guide, 100), warmup=5)


def eager_training(guide: type[Guide]) -> Step:
    """The library's eager step under a guide, on torch's default device."""
    return _training(partial(ours, EagerStep), guide, _batch())


def _batch() -> Tensor:
    device = torch.empty(0).device
    return torch.rand(BATCH, *IMAGE, generator=torch.Generator().manual_seed(0), device="cpu").round().to(device)


def _case(guide: type[Guide]) -> str:
    return f"{guide.__name__}({', '.join(f'{key}={value}' for key, value in OPTIONS.get(guide, {}).items())})"


def _training(prepare: Prepare, kind: type[Guide], x: Tensor) -> Step:
    """A step on a pair of its own, with the same initial weights each time, after one that has changed every weight."""
    torch.manual_seed(0)
    likelihood = pv.likelihoods.Gaussian(scale=0.3) if kind is pv.guides.Laplace else None
    vae, guide = pair(partial(kind, **OPTIONS.get(kind, {})), likelihood)
    weights = [*vae.parameters(), *guide.parameters()]
    before = [weight.detach().clone() for weight in weights]
    step = prepare(vae, guide, x)
    step()
    if any(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True)):
        raise RuntimeError(f"a step does not train all weights of {kind.__name__}")
    return step


def ours(kind: type[EagerStep], vae: pv.VAE, guide: Guide, x: Tensor, precision: str = "float32") -> Step:
    """A step as ``fit`` takes it, without registration in Pyro's parameter store."""
    step = kind(vae, guide, default_loss(guide), lr=1e-3, precision=precision)
    with without_registration():
        step.prepare_for(x)

    def call() -> object:
        with without_registration():
            return step(x)

    return call


def stock(vae: pv.VAE, guide: Guide, x: Tensor) -> Step:
    """A step of Pyro's SVI."""
    svi = SVI(vae, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    return lambda: svi.step(x)
