"""Training on data with missing values: compiled as eager, resumed as uninterrupted, by the command line."""

import json

import numpy as np
import pyro
import pytest
import torch

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import LowRank
from pyro_vaes.likelihoods import Bernoulli, PixelCNN, Standardized, StudentT
from pyro_vaes.losses import ELBO
from pyro_vaes.missing import hide, missing_values, nan_is_missing
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal, VampPrior
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.step import EagerStep
from pyro_vaes.vae import VAE
from tests.helpers.command_line import SMALL, run
from tests.helpers.training import SHAPE, assert_equal, at_step, build, interrupt, pixels, timeless, train, weights

MASK = np.random.default_rng(0).random((95, 4, 4)) < 0.5
MISSING = Data.from_arrays(x_train=pixels(), mask_train=MASK, x_test=pixels(20), mask_test=MASK[:20])


@pytest.mark.parametrize("guide", ["MeanField", "Laplace"])
def test_a_run_trains_and_resumes_to_the_same_weights(tmp_path, guide):
    whole, parts = build(guide), build(guide)
    expected = train(whole, MISSING, epochs=3)
    train(parts, MISSING, epochs=3, out=tmp_path, loss=at_step(4, ELBO(), interrupt))
    resumed = train(parts, MISSING, epochs=3, out=tmp_path, resume=True)
    assert_equal(weights(whole), weights(parts))
    assert timeless(expected.history) == timeless(resumed.history)
    assert expected.history[-1]["valid_elbo"] > expected.history[0]["valid_elbo"]
    assert not nan_is_missing()


def test_what_is_hidden_does_not_matter():
    other = np.where(MASK, pixels(), 255 - pixels())
    data = Data.from_arrays(x_train=other, mask_train=MASK, x_test=pixels(20), mask_test=MASK[:20])
    pairs = [build(), build()]
    for each, given in zip(pairs, (MISSING, data), strict=True):
        train(each, given)
    assert_equal(*map(weights, pairs))


@pytest.mark.parametrize("guide", ["MeanField", pytest.param("Laplace", marks=pytest.mark.slow)])
def test_a_compiled_step_is_the_eager_one(guide):
    x = hide(torch.rand(20, *SHAPE), torch.from_numpy(MASK[:20, None]))
    found = []
    for kind in (EagerStep, CompiledStep):
        model, made = build(guide)
        step = kind(model, made, ELBO(), lr=1e-2)
        torch.manual_seed(0)
        with missing_values(), pyro.validation_enabled(False):
            step.prepare_for(x)
            torch.manual_seed(0)
            found.append(torch.stack([step(x) for _ in range(3)]))
        found.append(torch.cat([weight.flatten() for weight in step.weights]).detach())
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], found[3], rtol=1e-3, atol=1e-4)


def test_initialization_is_from_what_was_seen():
    table = np.random.default_rng(0).normal([1e4, 0.02], [3e3, 0.01], (60, 2))
    table[::3, 1] = table[1::3, 0] = np.nan
    data = Data.from_arrays(x_train=table, kind="values")
    likelihood = Standardized((2,), StudentT())
    vae = VAE(MLPDecoder(1, (2,), hidden=(8,)), StandardNormal(1), likelihood)
    train((vae, LowRank(vae, MLPEncoder((2,), hidden=(8,)))), data, epochs=1)
    seen = data.train.x.numpy()
    np.testing.assert_allclose(likelihood.loc, np.nanmean(seen, 0), rtol=1e-5)
    np.testing.assert_allclose(likelihood.scale, np.nanstd(seen, 0), rtol=0.02)
    assert torch.isfinite(likelihood.likelihood.log_scale)


def test_pseudo_inputs_start_at_completed_data():
    vae = VAE(MLPDecoder(2, SHAPE, hidden=(8,)), VampPrior(2, components=5), Bernoulli())
    guide = LowRank(vae, MLPEncoder(SHAPE, hidden=(8,)))
    binary = Data.from_arrays(x_train=pixels(), mask_train=MASK, binarize="dynamic")
    train((vae, guide), binary, epochs=1)
    assert vae.prior.pseudo_inputs.isfinite().all()


def test_likelihoods_of_dependent_pixels_are_refused_before_training():
    likelihood = PixelCNN(SHAPE, 2, num_bins=256, layers=2, channels=4)
    vae = VAE(MLPDecoder(2, likelihood.features_shape, hidden=(8,)), StandardNormal(2), likelihood)
    data = Data.from_arrays(x_train=pixels(), mask_train=MASK, dequantize=False)
    with pytest.raises(InputError, match="PixelCNN gives no density of a part of x"):
        train((vae, LowRank(vae, MLPEncoder(SHAPE, hidden=(8,)))), data)


def test_the_command_line_trains_and_evaluates(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0).random
    np.savez("masked.npz", x_train=pixels(), mask_train=MASK)
    table = np.where(draw((60, 3)) < 0.3, np.nan, draw((60, 3)))
    np.savez("table.npz", x_train=table)
    kind = ["--kind", "values", "--likelihood", "standardized"]
    for name, flags in (("masked", ["--guide", "laplace"]), ("table", kind)):
        assert run("train", "vae", "--data", f"{name}.npz", *flags, *SMALL, "--out", name) == 0
        assert run("evaluate", name, "--test-size", "3", "--num-samples", "30") == 0
        assert "% of the values missing" in capsys.readouterr().out
        assert np.isfinite(json.loads((tmp_path / name / "evaluation.json").read_text())["log_likelihood"])
