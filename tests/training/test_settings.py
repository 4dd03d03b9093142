"""Settings of fit that are refused before a folder is made."""

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyro_vaes.data.check import check_data
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.reports.compare import compare
from pyro_vaes.reports.diagnose import diagnose
from pyro_vaes.settings import Settings
from tests.helpers.training import BINARY, assert_equal, build, clustered, timeless, train, weights


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
        (
            {"optimizer": "none"},
            "unknown optimizer 'none'.*Known: adadelta, adafactor, adagrad, adam, adamax, adamw, asgd",
        ),
        ({"optimizer": None}, "optimizer is None: expected the name of one of torch.optim"),
        ({"clip_norm": 0}, "clip_norm is 0: expected the largest norm of all gradients together"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan"),
        ({"clip_norm": "5"}, "clip_norm is '5'"),
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


def test_numbers_of_numpy_are_taken(tmp_path):
    plain = {
        "epochs": 2,
        "patience": 5,
        "batch_size": 16,
        "seed": 3,
        "lr": 0.5,
        "clip_norm": 3.5,
        "ema": 0.5,
        "cluster_epoch": 1,
    }
    numbers = {
        name: np.float32(value) if isinstance(value, float) else np.int64(value) for name, value in plain.items()
    }
    runs = [train(clustered(), out=tmp_path / name, **given) for name, given in (("a", plain), ("b", numbers))]
    assert timeless(runs[0].history) == timeless(runs[1].history)
    assert (tmp_path / "a" / "config.yaml").read_bytes() == (tmp_path / "b" / "config.yaml").read_bytes()
    assert Settings(**plain).config() == Settings(**numbers).config()
    assert yaml.safe_load(yaml.safe_dump(Settings(**numbers).config()))["epochs"] == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            DataLoader(TensorDataset(torch.zeros(5, 2))),
            r"data is a DataLoader: .*Data\.from_dataset\(data\.dataset, x_v",
        ),
        (TensorDataset(torch.zeros(5, 2)), r"data is a TensorDataset: .*Data\.from_dataset\(data, x_valid"),
        (torch.zeros(5, 1, 4, 4), r"data is a Tensor: .*Data\.from_arrays\(x_train=data\)"),
        (np.zeros((5, 1, 4, 4)), r"data is a ndarray: .*Data\.from_arrays\(x_train=data\)"),
        (BINARY.train, r"data is a Split: .* the Data that this split is of"),
        ("digits", r"data is a str: .*data\.load\('digits'\)"),
        (None, "data is a NoneType"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path, data, words):
    with pytest.raises(InputError, match=words):
        train(build(), data, out=tmp_path / "run")
    with pytest.raises(InputError, match=words):
        compare(data, ["mean-field"], out=tmp_path / "run")
    with pytest.raises(InputError, match=words):
        diagnose({"mean-field": build()}, data, tmp_path / "run")
    with pytest.raises(InputError, match=words):
        check_data(data)
    assert not (tmp_path / "run").exists()
