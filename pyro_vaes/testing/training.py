"""Checks of the training of a model and its guide."""

from __future__ import annotations

import copy

import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.optim import PyroOptim

from pyro_vaes.losses import ELBO
from pyro_vaes.param_store import registered_params_only, restored_param_store
from pyro_vaes.testing.pairs import MakePair, Pair


def gradients_are_finite(make: MakePair) -> None:
    """Every parameter receives a finite, nonzero gradient from the loss."""
    tested = make()
    model, guide, x, loss = tested
    loss.differentiable_loss(model, guide, x).backward()
    for name, parameter in tested.parameters().items():
        assert parameter.grad is not None, f"{name} receives no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), f"the gradient of {name} is zero"


def parameters_belong_to_modules(make: MakePair) -> None:
    """Every parameter is an ``nn.Parameter`` of model or guide, none one of Pyro's parameter store alone."""
    model, guide, x, loss = make()
    with restored_param_store(), registered_params_only(model, guide):
        loss.objective(model, guide, x)


def train(tested: Pair, loss: object, steps: int = 3) -> list[float]:
    """Losses of a few steps of stock SVI."""
    svi = SVI(tested.model, tested.guide, PyroOptim(torch.optim.Adam, {"lr": 2e-2}), loss)
    return [svi.step(tested.x) for _ in range(steps)]


def assert_trains(tested: Pair, loss: object) -> None:
    """Assert that stock SVI updates every parameter, with finite losses."""
    before = tested.snapshot()
    losses = train(tested, loss)
    assert torch.tensor(losses).isfinite().all(), f"the losses are {losses}"
    unchanged = before.keys() - tested.moved(before)
    assert not unchanged, f"not updated under {type(loss).__name__}: {', '.join(sorted(unchanged))}"


def trains_in_stock_svi(make: MakePair) -> None:
    """SVI updates all parameters of two pairs in one process, with Pyro's loss and with the pair's own."""
    for _ in range(2):
        assert_trains(make(), _pyro_loss(make()))
        tested = make()
        assert_trains(tested, tested.loss)


def _pyro_loss(tested: Pair) -> object:
    """Pyro's loss for a pair: the one that sums discrete latents out if there are any."""
    return TraceEnum_ELBO(max_plate_nesting=1) if tested.cluster_sites() else Trace_ELBO()


def training_lowers_the_loss(make: MakePair) -> None:
    """Thirty steps on one batch lower the negative ELBO."""
    losses = train(make(), ELBO(), steps=30)
    assert sum(losses[-10:]) < sum(losses[:10]), f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g}"


def copies_are_independent(make: MakePair) -> None:
    """A deep copy includes its model and trains independently of the original."""
    first = make()
    pairs = [first, Pair(*copy.deepcopy(first))]
    assert pairs[1].guide.vae is pairs[1].model
    for one, other in (pairs, pairs[::-1]):
        rest = other.snapshot()
        assert_trains(one, _pyro_loss(one))
        assert not other.moved(rest), "training one copy changed the other"
