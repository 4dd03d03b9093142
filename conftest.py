"""Fixtures of all tests and doctests: fixed seeds, an empty parameter store, untouched global state."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pyro
import pytest
import torch
from torch import nn

SEED = 0
torch.set_num_threads(1)  # the tensors are tiny: on a busy machine a second thread makes the tests ten times slower


def _global_state() -> dict[str, Any]:
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch gradient mode": torch.is_grad_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch number of threads": torch.get_num_threads(),
        "torch distribution validation": torch.distributions.Distribution._validate_args,
        **{f"pyro setting {name}": value for name, value in pyro.settings.get().items()},
    }


def _restore(before: dict[str, Any]) -> None:
    torch.set_default_dtype(before["torch default dtype"])
    torch.set_grad_enabled(before["torch gradient mode"])
    torch.use_deterministic_algorithms(before["torch deterministic algorithms"])
    torch.set_num_threads(before["torch number of threads"])
    prefix = "pyro setting "
    pyro.settings.set(**{key.removeprefix(prefix): v for key, v in before.items() if key.startswith(prefix)})
    torch.distributions.Distribution.set_default_validate_args(before["torch distribution validation"])


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    """Seed every generator, empty Pyro's store, and fail a test that leaves a global switch changed."""
    pyro.set_rng_seed(SEED)
    pyro.clear_param_store()
    before = _global_state()
    yield
    after = _global_state()
    changed = [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        _restore(before)
        pytest.fail(f"the test changed global state: {'; '.join(changed)}")


@pytest.fixture(autouse=True)
def without_tensorboard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide TensorBoard from all but its own tests, since its pictures take time and its files lie in run folders."""
    if request.node.path.stem not in ("test_tensorboard", "tensorboard"):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture(autouse=True)
def small_pair(request: pytest.FixtureRequest, isolated: None) -> None:
    """Give doctests a small model, an encoder and a guide for it, and a batch of four."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    from pyro_vaes import VAE, guides, likelihoods, networks, priors

    shape = (1, 8, 8)
    decoder = networks.MLPDecoder(2, shape, hidden=(16,))
    vae = VAE(decoder, priors.StandardNormal(2), likelihoods.Gaussian(0.5))
    encoder = networks.MLPEncoder(shape, hidden=(16,))
    request.getfixturevalue("doctest_namespace").update(
        torch=torch,
        nn=nn,
        vae=vae,
        encoder=encoder,
        guide=guides.MeanField(vae, encoder),
        x=torch.rand(4, *shape),
    )
