"""Layers in bfloat16, all else in float32."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.networks.linearize import gauss_newton, linearize
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.precision import BFloat16Layers
from pyro_vaes.training.step import EagerStep
from tests.helpers.compiled import needs_compiler

SHAPE = (1, 6, 6)


def pair():
    torch.manual_seed(0)
    vae = pv.VAE(pv.networks.MLPDecoder(3, SHAPE, (64,)), pv.priors.StandardNormal(3), pv.likelihoods.Bernoulli())
    return vae, pv.guides.FullCovariance(vae, pv.networks.MLPEncoder(SHAPE, (64,)))


@pytest.mark.parametrize("layer", [nn.Linear(6, 3), nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(1, 2, 3)])
def test_a_layer_is_that_of_rounded_weights_and_inputs(layer):
    x = torch.rand(2, 1, 6, 6)
    with BFloat16Layers():
        rounded = layer(x)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, layer.to(torch.bfloat16)(x.bfloat16()).float())


def test_float64_layers_stay():
    x, weight = torch.rand(2, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    with BFloat16Layers():
        assert torch.equal(F.linear(x, weight), x @ weight.T)


def test_all_else_is_float32():
    x = torch.rand(3, 3)
    product, contraction = x @ x, torch.einsum("ij,jk->ik", x, x)
    with BFloat16Layers():
        assert torch.equal(x @ x, product)
        assert torch.equal(torch.einsum("ij,jk->ik", x, x), contraction)
        assert (x @ x).dtype == x.exp().dtype == torch.linalg.cholesky_ex(torch.eye(3)).L.dtype == torch.float32


def test_gradients_of_a_step_are_those_of_float32_but_for_rounding():
    gradients = {}
    for precision in ("float32", "bfloat16"):
        step = EagerStep(*pair(), pv.losses.ELBO(), lr=1e-3, precision=precision)
        torch.manual_seed(1)
        with restored_param_store():
            step.differentiate(torch.rand(32, *SHAPE).round())
        assert all(weight.grad.dtype == torch.float32 for weight in step.weights)
        gradients[precision] = torch.cat([weight.grad.flatten() for weight in step.weights])
    error = (gradients["bfloat16"] - gradients["float32"]).norm() / gradients["float32"].norm()
    assert 0 < error < 0.02  # a bfloat16 has 8 bits


def test_fit_trains_in_it():
    data = pv.data.Data.from_arrays(x_train=torch.rand(40, *SHAPE).round())
    options = {"epochs": 2, "batch_size": 16, "device": "cpu", "progress": False}
    history = pv.fit(*pair(), data, precision="bfloat16", **options).history
    assert history[-1]["valid_elbo"] > history[0]["valid_elbo"]
    assert history[0]["train_elbo"] != pv.fit(*pair(), data, **options).history[0]["train_elbo"]


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match=r"unknown precision 'half'.*bfloat16"):
        pv.fit(*pair(), pv.data.load("digits"), precision="half", progress=False)


def test_jacobians_are_float32():
    """Those of `Laplace`'s precision matrices, of which no product is rounded."""
    torch.manual_seed(0)
    decoder, z = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5)), torch.randn(4, 3)
    direction, cotangent = torch.randn(4, 3), torch.randn(4, 8)

    def products(at):
        return at.transposed(), at.push(direction), at.pull(cotangent), gauss_newton(at, torch.ones_like)

    with BFloat16Layers():
        at = linearize(decoder, z)
        inside = products(at)
    assert not torch.equal(at.hidden, linearize(decoder, z).hidden)
    for one, other in zip(inside, products(at), strict=True):
        assert torch.equal(one, other)


@needs_compiler
def test_a_compiled_step_takes_the_eager_ones():
    def trained(kind):
        step = kind(*pair(), pv.losses.ELBO(), lr=1e-2, precision="bfloat16")
        torch.manual_seed(1)
        with restored_param_store():
            step.prepare_for(x)
            sums = torch.stack([step(x) for _ in range(3)])
        return sums, [weight.detach() for weight in step.weights]

    x = torch.rand(32, *SHAPE).round()
    torch.testing.assert_close(trained(CompiledStep), trained(EagerStep), rtol=1e-3, atol=1e-3)
