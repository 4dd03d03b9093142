"""Compiled steps beside eager ones."""

import shutil

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.recipes.spec import instantiate
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.step import EagerStep
from pyro_vaes.vae import Guide

SHAPE = (1, 6, 6)
GUIDES = ["full-covariance", "low-rank", "laplace", "semi-amortized(steps=2)", "inverse-autoregressive-flow"]
GUIDES += ["householder", "mixture(components=2)", "recursive-mixture(components=2)", "boosted-mixture(components=2)"]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which Inductor needs here")


def pair(guide="mean-field", likelihood=pv.likelihoods.Gaussian):
    torch.manual_seed(0)
    vae = pv.VAE(pv.networks.MLPDecoder(3, SHAPE, (8,)), pv.priors.StandardNormal(3), likelihood())
    return vae, instantiate("guide", pv.guides, Guide, guide, vae, pv.networks.MLPEncoder(SHAPE, (8,)))


def steps(kind, model, guide, loss, batches, **options):
    """Sums of each step, and the weights after the last."""
    with restored_param_store():
        torch.manual_seed(1)
        step = kind(model, guide, loss, lr=1e-2, **options)
        step.prepare_for(batches[0])
        sums = torch.stack([step(x) for x in batches])
    return sums, [weight.detach().clone() for weight in step.weights], step


def assert_same_steps(make, loss, dtype=torch.float32, **options):
    """Compares sums and weights; returns the compiled step."""
    batches = [torch.rand(size, *SHAPE, dtype=dtype) for size in (5, 5, 2, 5)]  # one smaller than that of the graph
    (one, first, _), (other, second, compiled) = (
        steps(kind, *make(), loss(), batches, **options) for kind in (EagerStep, CompiledStep)
    )
    assert compiled.shape == batches[0].shape
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)
    return compiled
