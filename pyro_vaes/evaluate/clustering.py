"""Agreement of clusters with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.errors import InputError


@dataclass(frozen=True)
class Clustering:
    """Agreement of clusters with labels on test data; each is at most 1.

    Attributes:
        hungarian: accuracy of the best one-to-one mapping of clusters to labels, chosen on the test data, as is
            customary. Clusters in excess of the labels count as wrong.
        majority: accuracy of mapping each cluster to the most frequent label of its training data. A cluster without
            training data counts as wrong.
        nmi: normalized mutual information, with the arithmetic mean of the entropies.
        ari: adjusted Rand index, 0 for random clusters.
    """

    hungarian: float
    majority: float
    nmi: float
    ari: float


def clustering(y_train: object, clusters_train: object, y_test: object, clusters_test: object) -> Clustering:
    """Scores of clusters against labels.

    Args:
        y_train: labels of the training data, which only the majority mapping uses.
        clusters_train: clusters of the training data.
        y_test: labels of the test data.
        clusters_test: clusters of the test data.

    Shapes:
        Each ``(N,)``, integers, as tensor, array or list.

    Raises:
        InputError: If labels and clusters are not one integer per datum.

    References:
        Unsupervised Deep Embedding for Clustering Analysis (Xie, Girshick, Farhadi, 2016) for the Hungarian accuracy.

    Example:
        >>> clustering([0, 0, 1, 1], [7, 7, 3, 3], [0, 1, 1, 0], [7, 3, 3, 7])
        Clustering(hungarian=1.0, majority=1.0, nmi=1.0, ari=1.0)
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    y_train, clusters_train = _paired(y_train, clusters_train, "train")
    y_test, clusters_test = _paired(y_test, clusters_test, "test")
    return Clustering(
        hungarian=_hungarian(y_test, clusters_test),
        majority=majority_accuracy(y_train, clusters_train, y_test, clusters_test),
        nmi=float(normalized_mutual_info_score(y_test, clusters_test)),
        ari=float(adjusted_rand_score(y_test, clusters_test)),
    )


def majority_accuracy(
    y_train: np.ndarray, clusters_train: np.ndarray, y_test: np.ndarray, clusters_test: np.ndarray
) -> float:
    """Test accuracy of mapping each cluster to its most frequent training label, the smallest one in case of ties.

    Example:
        >>> majority_accuracy(np.array([4, 4, 9]), np.array([0, 0, 0]), np.array([4, 9]), np.array([0, 0]))
        0.5
    """
    from sklearn.metrics.cluster import contingency_matrix

    majority = np.unique(y_train)[contingency_matrix(y_train, clusters_train).argmax(0)]
    label_of = dict(zip(np.unique(clusters_train), majority, strict=True))
    return float(
        np.mean([label_of.get(cluster) == label for cluster, label in zip(clusters_test, y_test, strict=True)])
    )


def _hungarian(labels: np.ndarray, clusters: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def _paired(labels: Any, clusters: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, checked to hold one integer per datum."""
    named = {f"y_{split}": labels, f"clusters_{split}": clusters}
    arrays = {name: as_numpy(value, name) for name, value in named.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iub":
            raise InputError(
                f"{name} is {array.dtype} of shape {array.shape}: expected one integer per datum, shape (N,); "
                "of probabilities take the argmax"
            )
    first, second = arrays.values()
    if len(first) != len(second):
        raise InputError(f"there are {len(first)} y_{split} and {len(second)} clusters_{split}: give one per datum")
    return first, second
