"""What levels tell of factors: where it is known, in closed form, and from any guide."""

import math
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes.data import FACTORS, Data, load
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.factor_probes import factor_probes
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from pyro_vaes.vae import VAE, Guide


def model(x):
    """Of which these tests need nothing."""


class Columns(Guide):
    """A guide whose latent l has the pixel l of x as its mean."""

    def __init__(self):
        super().__init__(SimpleNamespace(priors={}, event_shape=()))
        self.scale = nn.Parameter(torch.tensor(10.0))

    def posteriors(self, x):
        columns = enumerate(x.unbind(-1), 1)
        return {f"z{index}": dist.Normal(column[:, None], self.scale).to_event(1) for index, column in columns}


def vectors(x, y, tested=1 / 2):
    """Data in [0, 1] whose last part is the test split."""
    train = int(len(x) * (1 - tested))
    return Data.from_arrays(
        x_train=x[:train], y_train=y[:train], x_test=x[train:], y_test=y[train:], x_valid=x[:2], y_valid=y[:2]
    )


def table(result):
    return {(row["level"], row["factor"]): row for row in result.rows}


def test_a_level_that_holds_a_factor_and_one_that_holds_nothing():
    rng = np.random.default_rng(0)
    y = np.stack([rng.integers(2, size=2000), rng.integers(3, size=2000) % 2], axis=1)
    x = np.stack([0.25 + 0.5 * y[:, 0], np.full(2000, 0.5)], axis=1)
    data = vectors(x.astype(np.float32), y)
    result = table(factor_probes(model, Columns(), data, ["own", "other"]))
    assert list(result) == [("z1", "own"), ("z1", "other"), ("z2", "own"), ("z2", "other")]

    told = result["z1", "own"]
    assert (told["accuracy"], told["accuracy_stderr"]) == (1, 0)
    assert 0 < told["entropy"] - told["information"] < 0.02  # what the probe's penalty leaves
    assert told["entropy"] == pytest.approx(math.log(2), abs=1e-3)

    untold = result["z2", "other"]  # the probe can but say how frequent each label is
    train, test = (np.bincount(split.y[:, 1]) / len(split) for split in (data.train, data.test))
    assert untold["accuracy"] == untold["chance"] == test[train.argmax()]
    assert untold["accuracy_stderr"] == pytest.approx(math.sqrt(test.prod() / 1000))
    assert untold["information"] == pytest.approx((test * np.log(train / test)).sum(), abs=1e-6)
    assert untold["entropy"] == pytest.approx(-(test * np.log(test)).sum())


@pytest.mark.parametrize("shift", [0.5, 1.5])
def test_where_the_probe_is_the_posterior_the_bound_is_the_information(shift):
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=20_000)
    z = rng.standard_normal(20_000) + shift * (2 * y - 1)
    entry = factor_probes(model, Columns(), vectors(((z[:, None] + 8) / 16).astype(np.float32), y)).entries[0]
    grid = np.linspace(-10, 10, 20_001)
    density = np.exp(-0.5 * (grid - shift) ** 2) / math.sqrt(2 * math.pi)
    exact = math.log(2) - np.trapezoid(density * np.logaddexp(0, -2 * shift * grid), grid)
    assert (entry.level, entry.factor) == ("z1", "y1")
    assert entry.information_stderr < 0.01, "the test says nothing"
    assert abs(entry.information - exact) < 4 * entry.information_stderr
    assert abs(entry.accuracy - 0.5 * math.erfc(-shift / math.sqrt(2))) < 4 * entry.accuracy_stderr


def test_of_any_guide_a_code_is_the_mean_of_draws():
    y = np.random.default_rng(2).integers(2, size=400)

    class Hierarchy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1.0).double())

        def forward(self, x):
            scale = pyro.param("scale", torch.tensor(1.0).double())
            pyro.module("hierarchy", self)
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Bernoulli(0.5 * self.weight.expand(len(x))))
                low = pyro.sample("z10", dist.Normal(10 * self.weight * x[:, 0], scale))
                mean = low.unsqueeze(-1) * torch.zeros(3)
                pyro.sample("z2", dist.Normal(mean, 1.0).to_event(1))

    guide = Hierarchy()
    state = torch.get_rng_state()
    data = vectors(np.stack([y, y], axis=1).astype(np.float32), y)
    first, again, other = (factor_probes(model, guide, data, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert list(pyro.get_param_store()) == []
    assert first == again != other
    result = table(first)
    assert list(result) == [("z2", "y1"), ("z10", "y1")]
    assert result["z10", "y1"]["accuracy"] == 1
    assert result["z2", "y1"]["information"] < 4 * result["z2", "y1"]["information_stderr"]


def test_of_a_guide_of_one_latent():
    data = load("coloured-digits")
    vae = VAE(MLPDecoder(8, data.event_shape, (8,)), StandardNormal(8), Gaussian())
    result = table(factor_probes(vae, MeanField(vae, MLPEncoder(data.event_shape, (16,))), data, FACTORS))
    assert list(result) == [("z", factor) for factor in FACTORS]
    for row in result.values():
        assert row["information"] - 4 * row["information_stderr"] < row["entropy"] <= math.log(10)
    background = result["z", "background"]
    assert background["accuracy"] > background["chance"] + 0.3  # random features tell the color of most pixels


def test_data_without_labels():
    with pytest.raises(InputError, match="the train split has no labels"):
        factor_probes(model, Columns(), Data.from_arrays(x_train=np.zeros((8, 2), np.float32)))


def test_bad_input():
    x, y = np.zeros((8, 2), np.float32), np.arange(16).reshape(8, 2) % 2

    def message(labels, names=()):
        with pytest.raises(InputError) as caught:
            factor_probes(model, Columns(), vectors(x, labels), names)
        return str(caught.value)

    assert "factors is ['digit'], but y has 2 columns" in message(y, ["digit"])
    assert "give a distinct name for each" in message(y, ["a", "a"])
    assert message(y, ["digit", "ink"]) == "all training data have the same digit, 0: a probe needs at least two labels"
    y[:4, 0], y[4:, 0] = [1, 2, 1, 2], 3
    assert "digit is 3 in the test split, but never in the training split" in message(y, ["digit", "ink"])
