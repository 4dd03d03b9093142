"""Scores of clusters: the Hungarian mapping against brute force, the majority mapping by hand, chance, perfection."""

import itertools

import numpy as np
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.clustering import clustering


def brute_force(labels, clusters, num_labels, num_clusters):
    """Best accuracy over all one-to-one mappings of clusters to labels; labels beyond ``num_labels`` are nobody's."""
    targets = range(max(num_labels, num_clusters))
    return max(
        np.mean([mapping[cluster] == label for label, cluster in zip(labels, clusters, strict=True)])
        for mapping in itertools.permutations(targets, num_clusters)
    )


@pytest.mark.parametrize(("num_labels", "num_clusters"), [(4, 4), (3, 6), (6, 3), (1, 4), (4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_hungarian_is_the_best_one_to_one_mapping(num_labels, num_clusters, seed):
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(num_labels, size=30), rng.integers(num_clusters, size=30)
    score = clustering([0], [0], labels, clusters)
    assert score.hungarian == pytest.approx(brute_force(labels, clusters, num_labels, num_clusters))


def test_perfect_clusters_under_other_names_score_one():
    labels = np.arange(40) % 10
    names = np.random.default_rng(0).permutation(10) + 100
    score = clustering(labels, names[labels], labels[::-1], names[labels[::-1]])
    assert (score.hungarian, score.majority) == (1, 1)
    assert (score.nmi, score.ari) == (pytest.approx(1), pytest.approx(1))


def test_chance_scores_nothing():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(10, size=(2, 20000))
    score = clustering(labels[:10000], clusters[:10000], labels[10000:], clusters[10000:])
    error = (0.1 * 0.9 / 10000) ** 0.5
    assert abs(score.majority - 0.1) < 4 * error  # its mapping does not see the scored data
    assert 0.1 <= score.hungarian < 0.1 + 10 * error  # the best of many mappings is above chance
    assert abs(score.ari) < 0.005
    assert 0 <= score.nmi < 0.01


def test_majority_is_fitted_on_the_training_data_alone():
    y_train, clusters_train = [0, 0, 1, 2, 1], [5, 5, 5, 6, 6]  # 5 is 0; 6 is a tie of 1 and 2, the lesser wins
    y_test, clusters_test = [0, 1, 1, 2, 0, 2], [5, 5, 6, 6, 9, 9]  # 9 was never seen
    score = clustering(y_train, clusters_train, y_test, clusters_test)
    assert score.majority == pytest.approx(2 / 6)
    assert score.hungarian == pytest.approx(3 / 6)


def test_over_clustering_costs_the_hungarian_accuracy_only():
    labels = np.arange(80) % 4
    clusters = np.arange(80) % 8  # two clusters a label
    score = clustering(labels, clusters, labels, clusters)
    assert (score.majority, score.hungarian) == (1, 0.5)


def test_tensors_arrays_and_lists_are_alike():
    labels, clusters = [0, 1, 1, 0], [1, 1, 0, 0]
    expected = clustering(labels, clusters, labels, clusters)
    assert clustering(*map(torch.tensor, [labels, clusters] * 2)) == expected
    assert clustering(*map(np.array, [labels, clusters] * 2)) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [0, 1], [0, 1], torch.rand(2, 3)), r"clusters_test is float32 of shape \(2, 3\)"),
        (([0, 1], [0.5, 1.0], [0], [0]), "clusters_train is float64"),
        (([0, 1], [0, 1], [], []), r"y_test is float64 of shape \(0,\)"),
        (([0, 1, 2], [0, 1], [0], [0]), "3 y_train and 2 clusters_train"),
    ],
    ids=["probabilities", "floats", "empty", "unequal"],
)
def test_what_is_no_clustering_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        clustering(*arguments)
