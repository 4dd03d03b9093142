"""Settings of fit that are refused before a folder is made."""

import pytest
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli
from tests.helpers.training import BINARY, assert_equal, build, train, weights


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs is 0: expected a whole number, 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": -1}, "lr is -1: expected a positive number"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"device": "gpu"}, "device 'gpu' is not available"),
        ({"step": "x"}, "unknown step 'x'"),
        ({"cluster_epoch": 1}, "a VAE with a MeanField has no clusters"),
        ({"cluster_epoch": -1}, "cluster_epoch is -1"),
        ({"ema": 0}, "ema is 0: expected .* between 0 and 1 such as 0.998"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"ema": -0.1}, "ema is -0.1"),
        ({"ema": float("nan")}, "ema is nan"),
        ({"ema": "0.9"}, "ema is '0.9'"),
        ({"optimizer": "adam_max"}, "unknown optimizer 'adam_max': did you mean 'adamax'"),
        ({"optimizer": None}, "unknown optimizer 'None'.*Known: adam, adamax"),
        ({"loss": nn.MSELoss()}, "loss is a MSELoss"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": 10**30}, "seed is 1000"),
    ],
)
def test_settings_are_refused_before_a_folder_is_made(tmp_path, options, words):
    pair = build()
    before = weights(pair)
    with pytest.raises(InputError, match=words):
        train(pair, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert_equal(weights(pair), before)


def test_gray_data_under_bernoulli_are_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(InputError, match="Bernoulli needs binary data"):
        train(build(likelihood=Bernoulli()), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(train(build(likelihood=Bernoulli()), BINARY, epochs=1).history) == 1


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "10"])
def test_minutes_are_checked(tmp_path, minutes):
    with pytest.raises(InputError, match="checkpoint_minutes is"):
        train(build(), out=tmp_path / "run", checkpoint_minutes=minutes)
    assert not (tmp_path / "run").exists()
