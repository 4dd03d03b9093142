"""Accuracy of clusters as classes."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data, hide_labels
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import classification
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.models import MixtureGuide, MixtureVAE
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.vae import VAE
from tests.helpers.mixtures import ladder_mixture


def parts():
    """Data whose class is their largest dimension, and a guide that says so of the first two alone."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (np.eye(3)[y] + 0.1 * rng.random((90, 3))).astype(np.float32)
    data = Data.from_arrays(
        x_train=x[:60], y_train=y[:60], x_valid=x[60:70], y_valid=y[60:70], x_test=x[60:], y_test=y[60:], kind="values"
    )
    model = MixtureVAE(MLPDecoder(2, (3,), (4,)), GaussianMixture(2, 3), Gaussian())
    guide = MixtureGuide(model, MLPEncoder((3,), (4,)))
    guide.clusters = lambda x: {"y": torch.cat([x[..., :2], torch.full_like(x[..., :1], -1.0)], -1)}
    return model, guide, data


def test_the_cluster_is_the_label_without_a_mapping():
    model, guide, data = parts()
    labeled = hide_labels(data, keep=6, classes=[0, 1])
    result = classification(model, guide, labeled)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.accuracy_stderr == pytest.approx(np.sqrt(2 / 9 / 30))
    assert (result.shown, result.neighbors) == (1.0, pytest.approx(2 / 3))
    assert (result.num_labels, result.num_classes) == (6, 2)
    assert result.describe() == (
        "accuracy of q(y | x) 66.67% ± 8.61%; 5 nearest neighbors on the same 6 labels of 2 classes 66.67%"
    )


def test_what_it_needs_is_named():
    model, guide, data = parts()
    with pytest.raises(InputError, match="has the clusters y: site is 'y2', expected one of them"):
        classification(model, guide, data, site="y2")
    hidden = hide_labels(data, keep=3)
    hidden.train.y.fill_(-1)
    with pytest.raises(InputError, match="no training example has a label"):
        classification(model, guide, hidden)
    vae = VAE(MLPDecoder(2, (3,), (4,)), StandardNormal(2), Gaussian())
    with pytest.raises(InputError, match="MeanField has no clusters"):
        classification(vae, MeanField(vae, MLPEncoder((3,), (4,))), data)


def test_a_ladder_with_several_clusters_needs_a_site():
    model, guide, x, _ = ladder_mixture(["y1", "y3"])
    data = Data.from_arrays(
        x_train=x.repeat(5, 1, 1, 1), y_train=[[0, 1], [1, 0]] * 10, x_test=x, y_test=[[0, 1], [1, 0]] * 2
    )
    with pytest.raises(InputError, match="has the clusters y1, y3: site is None"):
        classification(model, guide, data)
    guide.clusters = lambda x: {
        site: torch.eye(3)[labels] for site, labels in zip(("y1", "y3"), data.test.y.T, strict=True)
    }
    assert classification(model, guide, data, site="y1").accuracy == 1
    assert classification(model, guide, data, site="y3").accuracy == 1
    assert classification(model, guide, data, site="y3").num_classes == 2
