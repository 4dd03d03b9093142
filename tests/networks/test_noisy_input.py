"""Denoising: the encoder's input is corrupted, in training alone; the model's x is clean."""

import dataclasses

import pytest
import torch
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.networks import MLPEncoder, NoisyInput
from pyro_vaes.recipes import RECIPES, Settings, build_seeded
from pyro_vaes.recipes.build import build_encoder
from pyro_vaes.traces import paired_traces

SHAPE = (1, 4, 4)


def test_corruption_is_that_of_the_published_code():
    """x b + s + scale ε, clipped, of the same draws."""
    x, noisy = torch.rand(50, *SHAPE), NoisyInput(nn.Flatten(), probability=0.3, scale=0.2)
    torch.manual_seed(1)
    found = noisy(x)
    torch.manual_seed(1)
    kept, salt = torch.rand(50, *SHAPE) >= 0.3, torch.rand(50, *SHAPE) < 0.3
    expected = (x * kept + 1.0 * salt + 0.2 * torch.randn(50, *SHAPE)).clip(0, 1)
    assert torch.equal(found, expected.flatten(1))


def test_shares_of_pepper_and_salt():
    x = torch.full((100_000, 1), 0.5)
    found = NoisyInput(nn.Identity(), probability=0.1, scale=0.0)(x)
    for value, share in {0.0: 0.1 * 0.9, 0.5: 0.9 * 0.9, 1.0: 0.1}.items():
        assert (found == value).double().mean() == pytest.approx(share, abs=4 * (share / 100_000) ** 0.5)


def test_no_noise_changes_nothing():
    x = torch.rand(5, *SHAPE)
    assert torch.equal(NoisyInput(nn.Identity(), probability=0.0, scale=0.0)(x), x)
    assert torch.equal(NoisyInput(nn.Identity()).eval()(x), x)


@pytest.mark.parametrize("name", ["vae", "ladder", "ladder-mixture"])
def test_the_target_is_clean_and_the_encoder_s_input_is_not(name):
    several = {} if name == "vae" else {"latent_dim": (2, 2), "hidden": (8, 8)}
    settings = dataclasses.replace(RECIPES[name].small, denoise=True, **several)
    model, guide, _ = build_seeded(RECIPES[name], SHAPE, settings, seed=0)
    x, seen = torch.rand(6, *SHAPE), []
    guide.encoder.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for training in (True, False):
        guide.train(training)
        model_trace, _ = paired_traces(model, guide, x, enumerate_discrete=True)
        assert torch.equal(model_trace.nodes["x"]["value"], x)
        assert torch.equal(seen[-1], x) is not training


def test_the_encoder_keeps_its_sizes():
    assert NoisyInput(MLPEncoder(SHAPE, (8, 5))).out_features == 5
    assert isinstance(build_encoder(SHAPE, Settings(denoise=True)), NoisyInput)


@pytest.mark.parametrize(("probability", "scale"), [(-0.1, 0.1), (1.1, 0.1), (0.1, -0.1), (float("nan"), 0.1)])
def test_bad_noise_is_refused(probability, scale):
    with pytest.raises(InputError, match="expected a probability, and a scale of 0 or more"):
        NoisyInput(nn.Identity(), probability, scale)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"center": True}, "the data are pixels under center or logit: leave one of them out .*--no-denoise"),
        ({"logit": True}, "the data are pixels under center or logit"),
        ({"likelihood": "poisson"}, "denoise is for pixels .* the data are counts"),
        ({"kind": "values"}, "the data are values"),
    ],
)
def test_data_that_are_no_pixels_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        build_encoder(SHAPE, Settings(denoise=True, **changes))
