"""The gradient step under every guide, 784-500-500-50, batch 128: compiled and eager against plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

import pyro_vaes as pv
from benchmarks import by_hand
from benchmarks.timing import in_turn
from pyro_vaes.losses import default_loss
from pyro_vaes.param_store import without_registration
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.cuda_graph_step import GraphStep
from pyro_vaes.training.step import CannotCompile, EagerStep
from pyro_vaes.vae import Guide

BATCH, LATENT, HIDDEN, SHAPE = 128, 50, (500, 500), (1, 28, 28)
TURNS = {pv.guides.Laplace: 11}  # its rival takes a second; 100 for all others
OPTIONS: dict[type[Guide], dict[str, Any]] = {pv.guides.SemiAmortized: {"steps": 8}}

ON_CPU: dict[str, type[EagerStep]] = {"compiled": CompiledStep, "eager": EagerStep}
ON_GPU: dict[str, type[EagerStep]] = {"graph": GraphStep, **ON_CPU}

Start = Callable[[pv.VAE, Guide, Tensor], Callable[[], object]]  # from a pair and a batch to what takes a step


def run(kinds: Mapping[str, type[EagerStep]] = ON_CPU) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a step of each, in turn: a case a guide, with its default loss; on torch's default device."""
    x = _batch()
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for kind in by_hand.LOSSES:
            starts: dict[str, Start] = {name: partial(_ours, kinds[name]) for name in kinds}
            starts["plain PyTorch"] = by_hand.training
            if kind is pv.guides.MeanField:
                starts["stock SVI"] = _stock
            rivals: dict[str, Callable[[], object]] = {}
            for name, start in starts.items():
                try:
                    rivals[name] = _training(start, kind, x)
                except CannotCompile as error:
                    print(f"{_case(kind)}: no {name} step, {error}")
            if kind is pv.guides.MeanField:
                rivals["matrix products alone"] = _products()
            yield _case(kind), in_turn(rivals, TURNS.get(kind, 100), warmup=5)


def eager_training(kind: type[Guide]) -> Callable[[], object]:
    """The library's eager step under a guide, ready to be repeated."""
    return _training(partial(_ours, EagerStep), kind, _batch())


def _batch() -> Tensor:
    return torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0), device="cpu").round().to(_device())


def _device() -> torch.device:
    """Torch's default."""
    return torch.empty(0).device


def _case(kind: type[Guide]) -> str:
    """The guide as it was built."""
    return f"{kind.__name__}({', '.join(f'{key}={value}' for key, value in OPTIONS.get(kind, {}).items())})"


def _training(start: Start, kind: type[Guide], x: Tensor) -> Callable[[], object]:
    """A rival's step on a pair of its own, equal at the start for all, once it has trained every weight."""
    torch.manual_seed(0)
    likelihood = pv.likelihoods.Gaussian(scale=0.3) if kind is pv.guides.Laplace else pv.likelihoods.Bernoulli()
    decoder = pv.networks.MLPDecoder(LATENT, SHAPE, HIDDEN)
    vae = pv.VAE(decoder, pv.priors.StandardNormal(LATENT), likelihood)
    guide = kind(vae, pv.networks.MLPEncoder(SHAPE, HIDDEN), **OPTIONS.get(kind, {}))
    weights = [*vae.parameters(), *guide.parameters()]
    before = [weight.detach().clone() for weight in weights]
    step = start(vae, guide, x)
    step()
    if any(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True)):
        raise RuntimeError(f"a rival does not train all weights of {kind.__name__}")
    return step


def _ours(kind: type[EagerStep], vae: pv.VAE, guide: Guide, x: Tensor) -> Callable[[], object]:
    """A step as ``fit`` takes it, without_registration; stock SVI trains what is announced."""
    step = kind(vae, guide, default_loss(guide), lr=1e-3)
    with without_registration():
        step.capture(x)

    def call() -> object:
        with without_registration():
            return step(x)

    return call


def _stock(vae: pv.VAE, guide: Guide, x: Tensor) -> Callable[[], object]:
    svi = SVI(vae, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    return lambda: svi.step(x)


def _products() -> Callable[[], object]:
    """The matrix products of the mean-field step alone, into memory at hand: no step can be faster."""
    size = math.prod(SHAPE)
    pairs: list[tuple[Tensor, Tensor]] = []
    for fan_in, fan_out in (*pairwise((size, *HIDDEN, 2 * LATENT)), *pairwise((LATENT, *HIDDEN, size))):
        inputs, weight, gradient = (
            torch.randn(*each) for each in ((BATCH, fan_in), (fan_out, fan_in), (BATCH, fan_out))
        )
        pairs += [(inputs, weight.T), (gradient.T, inputs), (gradient, weight)]
    del pairs[2]  # the data's own gradient, which nothing asks for
    outputs = [one @ other for one, other in pairs]

    def step() -> None:
        for (one, other), output in zip(pairs, outputs, strict=True):
            torch.mm(one, other, out=output)

    return step
