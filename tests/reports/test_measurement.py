"""Measurements under several binarizations of the same test images."""

import math

import pytest
import torch

from pyro_vaes import data
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.reports.evaluate_run import evaluate_run
from pyro_vaes.reports.measurement import average, binarized, measure
from pyro_vaes.testing import pair
from tests.helpers.command_line import run


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", binarize="dynamic")


def test_binarizations_are_fixed_and_the_first_is_the_test_split(digits):
    draws = binarized(digits, torch.arange(12), 3)
    assert torch.equal(draws[0], digits.test.x[:12])
    assert all(torch.equal(*each) for each in zip(draws, binarized(digits, torch.arange(12), 3), strict=True))
    assert not any(torch.equal(draws[i], draws[j]) for i in range(3) for j in range(i))
    assert all(set(each.unique().tolist()) == {0.0, 1.0} for each in draws)
    intensity = digits.test.pixels[:12].float() / (digits.test.preprocessing.num_bins - 1)
    for each in draws:
        assert not each[intensity == 0].any()
        assert each[intensity == 1].all()


def test_figures_are_averaged_over_binarizations_and_errors_are_over_images(digits):
    model, guide, *_ = pair(likelihood=Bernoulli, shape=(1, 8, 8))
    measured = [measure(model, guide, x, num_samples=50, seed=0) for x in binarized(digits, torch.arange(12), 2)]
    found, figures = average(measured), [each.figures for each in measured]
    for name in ("log_likelihood", "elbo", "gap", "importance_bound", "unreliable"):
        assert found[name] == pytest.approx((figures[0][name] + figures[1][name]) / 2)
    assert sum(found[f"{kind}importance_sampling"] for kind in ("", "adaptive_", "annealed_")) == 24
    per_image = (measured[0].marginal.per_datum + measured[1].marginal.per_datum) / 2
    assert found["log_likelihood_stderr"] == pytest.approx(per_image.std().item() / math.sqrt(12))


def test_the_words_say_how_many_binarizations(digits, tmp_path):
    model, guide, *_ = pair(likelihood=Bernoulli, shape=(1, 8, 8))
    lines = evaluate_run(model, guide, digits, tmp_path, num_samples=50, test_size=3, binarizations=2)
    assert "each under 2 binarizations of the same images, averaged" in lines[0]


def test_data_that_are_not_binarized_have_one(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="binarizations is 5, but these data are dequantized"):
        binarized(data.load("digits"), torch.arange(10), 5)
    with pytest.raises(InputError, match="binarizations is 0"):
        binarized(data.load("digits", binarize="dynamic"), torch.arange(10), 0)
    monkeypatch.chdir(tmp_path)
    assert run("train", "vae", "--epochs", "1", "--hidden", "4", "--out", "run", "--device", "cpu") == 0
    assert run("evaluate", "run", "--binarizations", "5") == 2
    assert "leave it out, or binarize them dynamically" in capsys.readouterr().err
