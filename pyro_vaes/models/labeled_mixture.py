"""Gaussian mixtures of codes of which some have labels."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from pyro_vaes.data.labels import UNKNOWN

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

STARTS = 10  # of the fit without labels, of which the best is taken
NEIGHBORS = 10  # of the graph along which labels spread
ITERATIONS = 5  # of EM after labels: more of them move components from classes to clusters
RIDGE = 1e-6  # least variance, as scikit-learn has it


def fit_mixture(
    codes: np.ndarray,
    components: int,
    kind: str,
    seed: int,
    labels: np.ndarray | None = None,
    means: np.ndarray | None = None,
) -> GaussianMixture:
    """scikit-learn's mixture of codes; with labels, component k is the class k if one of them shows it.

    Labels spread along a graph of neighbors to all codes, from which a few iterations of EM start. The other components
    spread alike, from the codes nearest to their means in a fit without labels, of which they are those that agree
    least with the labels.

    Args:
        codes: ``(N, Z)``.
        components: number K of components.
        kind: covariances of the components, ``"full"`` or ``"diag"``.
        seed: seed of the starts.
        labels: class of each code, 0 to K - 1, or -1 where it is not known, ``(N,)``; None for no labels.
        means: what has the neighbors, ``(N, Z)``, such as E[z | x] where codes are draws of z; by default the codes.

    References:
        Learning with Local and Global Consistency (Zhou, Bousquet, Lal, Weston, Schölkopf, 2004) for the spread.

    Example:
        >>> codes = np.repeat([[0.0], [5.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 1))
        >>> labels = np.full(40, -1)
        >>> labels[[0, 1, 20, 21]] = [1, 1, 0, 0]
        >>> fit_mixture(codes, 2, "full", seed=0, labels=labels).means_.round(1).tolist()
        [[5.1], [-0.2]]
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from sklearn.semi_supervised import LabelSpreading

    places = codes if means is None else means
    known = np.zeros(len(codes), bool) if labels is None else labels != UNKNOWN
    shown = np.unique(labels[known]) if labels is not None else known[:0]
    seeds = np.full(len(codes), UNKNOWN) if labels is None else labels.copy()
    if len(shown) < components:
        fitted = GaussianMixture(components, covariance_type=kind, n_init=STARTS, random_state=seed).fit(codes)
        if labels is None or not known.any():
            return fitted
        others = np.setdiff1d(np.arange(components), shown)
        order = _matched(fitted.predict(codes[known]), seeds[known], components)
        for other in others:
            distances = ((places - fitted.means_[order[other]]) ** 2).sum(1)
            nearest = np.where(known, np.inf, distances).argsort()[: -(-known.sum() // len(shown))]
            seeds[nearest] = other
    spread = LabelSpreading(kernel="knn", n_neighbors=min(NEIGHBORS, len(codes) - 1), alpha=0.5).fit(places, seeds)
    shares = spread.label_distributions_ + RIDGE
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return _started(codes, shares / shares.sum(1, keepdims=True), kind, seed).fit(codes)


def _matched(found: np.ndarray, classes: np.ndarray, components: int) -> np.ndarray:
    """For each class the component that agrees best one to one with the labels, the other components where none is."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((components, components))
    np.add.at(counts, (classes, found), 1)
    return linear_sum_assignment(counts, maximize=True)[1]


def _started(codes: np.ndarray, shares: np.ndarray, kind: str, seed: int) -> GaussianMixture:
    """A mixture to be fitted from the components that these shares of the codes, ``(N, K)``, have."""
    from sklearn.mixture import GaussianMixture

    sizes = shares.sum(0)
    means = shares.T @ codes / sizes[:, None]
    residuals = codes - means[:, None]
    if kind == "full":
        covariances = np.einsum("nk,kni,knj->kij", shares, residuals, residuals) / sizes[:, None, None]
        precisions = np.linalg.inv(covariances + RIDGE * np.eye(codes.shape[1]))
    else:
        precisions = 1 / (np.einsum("nk,kni->ki", shares, residuals**2) / sizes[:, None] + RIDGE)
    return GaussianMixture(
        len(sizes),
        covariance_type=kind,
        max_iter=ITERATIONS,
        means_init=means,
        precisions_init=precisions,
        weights_init=sizes / sizes.sum(),
        random_state=seed,
    )
