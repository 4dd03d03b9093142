"""Probes of a representation, and their protocol."""

import json
import math
from dataclasses import asdict

import pytest
import torch

from pyro_vaes import VAE
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.representation import representation
from pyro_vaes.guides import InverseAutoregressiveFlow
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.vectors import Identity, pair


def classes(count, num_classes=4, seed=0):
    """Points near the corners of a square, with their corner and whether it is left."""
    y = torch.arange(count) % num_classes
    corners = 3.0 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    x = corners[y] / 4 + 0.03 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return (x.clamp(0, 1).float()), torch.stack([y, y % 2], 1)


def separable(train=1200, test=200):
    (x_train, y_train), (x_test, y_test) = classes(train), classes(test, seed=1)
    parts = {"x_train": x_train, "y_train": y_train, "x_valid": x_test, "y_valid": y_test}
    return Data.from_arrays(**parts, x_test=x_test, y_test=y_test)


def accuracies(result, probe):
    return {(row["setting"], row["labels"]): row["accuracy"] for row in result.rows if row["probe"] == probe}


@pytest.mark.parametrize("column", [0, 1])
def test_codes_that_hold_the_labels_classify_them(column):
    data = separable()
    result = representation(*pair(2, 0.05), data, column=column)
    assert set(accuracies(result, "k-means")) == {(f"{k} clusters", 1200) for k in (10, 20, 30)}
    for probe in ("nearest neighbors", "linear"):
        assert [labels for _, labels in accuracies(result, probe)] == [100, 1000, 1200]
    assert all(probe.accuracy > 0.98 for probe in result.probes)
    assert [probe.stderr is None for probe in result.probes if probe.probe == "linear"] == [False, False, True]
    assert result.active_units == 2
    assert result.mutual_information.limit == math.log(200)
    assert json.loads(json.dumps(asdict(result)))["probes"] == result.rows


def test_collapsed_codes_are_chance():
    vae, guide = pair(2, 1.0)
    with torch.no_grad():
        guide.head.weight.zero_()
    result = representation(vae, guide, separable())
    assert all(probe.accuracy == 0.25 for probe in result.probes)  # 4 classes of equal size, one of them predicted
    assert result.active_units == 0
    assert result.mutual_information.value == pytest.approx(0, abs=1e-9)


def test_a_seed_fixes_all_and_leaves_the_generators_alone():
    vae, _ = pair(2, 1.0)
    guide = InverseAutoregressiveFlow(vae, Identity(2)).double()  # its codes are means of draws
    state = torch.get_rng_state()
    first, second = (representation(vae, guide, separable(300), seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_dynamically_binarised_images_are_thresholded():
    """The codes of gray images are those of the images thresholded at a half, without noise."""
    x = torch.tensor([[0.45, 0.45], [0.55, 0.45], [0.45, 0.55], [0.55, 0.55]])
    y = torch.arange(4)
    data = {"x_train": x.repeat(50, 1), "y_train": y.repeat(50), "x_test": x, "y_test": y}
    data |= {"x_valid": x, "y_valid": y}
    vae = VAE(MLPDecoder(2, (2,), hidden=(3,)), StandardNormal(2), Bernoulli()).double()
    guide = pair(2, 0.1)[1]
    guide.__dict__["vae"] = vae
    result = representation(vae, guide, Data.from_arrays(**data, binarize="dynamic"))
    assert accuracies(result, "linear")["logistic regression", 200] == 1


def test_unlabelled_data_are_refused():
    x, y = classes(50)
    with pytest.raises(InputError, match="train split has no labels, which the probes need: give y_train"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x))
    with pytest.raises(InputError, match="test split has no labels"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=y, x_test=x))
    with pytest.raises(InputError, match="column is 2: expected 0 to 1"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=y), column=2)
    with pytest.raises(InputError, match="all training data have the label 7"):
        representation(*pair(2, 1.0), Data.from_arrays(x_train=x, y_train=torch.full((50,), 7)))


def test_a_guide_without_a_posterior_is_refused():
    vae, _ = pair(2, 1.0)
    with pytest.raises(InputError, match="function has no posterior"):
        representation(vae, lambda x: None, separable(60))
