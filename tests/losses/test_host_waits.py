"""A step of a loss never makes the host wait for the device."""

import pyro
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO, Warmup
from tests.helpers.losses import GUIDES, build


class NoHostWait(TorchDispatchMode):
    """Fails where the host would wait for a device: values read, sizes that data decide, checked solves."""

    waits = (
        "_local_scalar_dense",
        "item",
        "is_nonzero",
        "equal",
        "nonzero",
        "masked_select",
        "_linalg_check_errors",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.waits, f"{func} makes the host wait"
        return func(*args, **(kwargs or {}))


def test_the_guard_catches_what_it_should():
    matrix = torch.eye(2)
    for wait in (
        lambda: matrix[0, 0].item(),
        lambda: bool((matrix > 0).all()),
        lambda: torch.linalg.cholesky(matrix),
    ):
        with pytest.raises(AssertionError, match="makes the host wait"), NoHostWait():
            wait()


@pytest.mark.parametrize("guide", GUIDES)
def test_missing_values_do_not_either(guide):
    vae, guide, x = build(guide, Bernoulli())
    mask = torch.rand(x.shape) < 0.5
    with pyro.validation_enabled(False), NoHostWait():
        ELBO().loss_and_grads(vae, guide, x.round(), mask=mask)


@pytest.mark.parametrize("likelihood", [Gaussian, Bernoulli])
@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("particles", [1, 3])
def test_a_step_never_makes_the_host_wait(guide, likelihood, particles):
    vae, guide, x = build(guide, likelihood(0.5) if likelihood is Gaussian else likelihood())
    loss = ELBO(num_particles=particles, beta=Warmup(3))
    with pyro.validation_enabled(False), NoHostWait():
        loss.loss_and_grads(vae, guide, x.round())
