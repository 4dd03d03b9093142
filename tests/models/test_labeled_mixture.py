"""Mixtures of codes of which some have labels."""

import numpy as np
import pytest

from pyro_vaes.models.labeled_mixture import fit_mixture


def blobs(centers, size=60, scale=0.5):
    rng = np.random.default_rng(1)
    codes = np.concatenate([center + scale * rng.normal(size=(size, 2)) for center in np.asarray(centers, float)])
    return codes, np.repeat(np.arange(len(centers)), size)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_components_of_labeled_classes_are_the_classes(kind):
    codes, classes = blobs([(0, 0), (5, 0), (0, 5), (5, 5)])
    labels = np.full(len(codes), -1)
    for shown in (2, 0, 3):  # none of class 1
        labels[np.flatnonzero(classes == shown)[:3]] = shown
    fitted = fit_mixture(codes, 4, kind, seed=0, labels=labels)
    assert (fitted.predict(codes) == classes).mean() > 0.98
    np.testing.assert_allclose(fitted.means_, [(0, 0), (5, 0), (0, 5), (5, 5)], atol=0.3)


@pytest.mark.parametrize("labels", [None, np.full(120, -1)])
def test_without_labels_it_is_the_plain_fit(labels):
    codes, _ = blobs([(0, 0), (5, 5)])
    plain = fit_mixture(codes, 2, "full", seed=3)
    np.testing.assert_array_equal(fit_mixture(codes, 2, "full", seed=3, labels=labels).means_, plain.means_)


def test_labels_decide_between_two_clusterings():
    """A cross of two bars: one label at each end of a bar says that bars are the classes, not halves."""
    rng = np.random.default_rng(0)
    along, across = rng.uniform(-4, 4, 300), 0.2 * rng.normal(size=300)
    codes = np.concatenate([np.stack([along, across], 1), np.stack([across, along + 0.5], 1)])
    classes = np.repeat([0, 1], 300)
    labels = np.full(600, -1)
    for shown in (0, 1):
        mine = np.flatnonzero(classes == shown)
        labels[mine[np.argsort(codes[mine].sum(1))[[0, 50, 100, 200, 250, -1]]]] = shown
    fitted = fit_mixture(codes, 2, "full", seed=0, labels=labels)
    assert (fitted.predict(codes) == classes).mean() > 0.9
