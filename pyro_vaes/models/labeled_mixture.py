"""Gaussian mixtures of codes of which some have labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyro_vaes.data.labels import UNKNOWN

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

STARTS = 10  # of the fit without labels, of which the best is taken


def fit_mixture(
    codes: np.ndarray, components: int, kind: str, seed: int, labels: np.ndarray | None = None
) -> GaussianMixture:
    """scikit-learn's mixture of codes; with labels, component k is the class k, if one of them shows it.

    Args:
        codes: ``(N, Z)``.
        components: number K of components.
        kind: covariances of the components, ``"full"`` or ``"diag"``.
        seed: seed of the starts.
        labels: class of each code, 0 to K - 1, or -1 where it is not known, ``(N,)``; None for no labels.

    Example:
        >>> codes = np.repeat([[0.0], [5.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 1))
        >>> labels = np.full(40, -1)
        >>> labels[[0, 1, 20, 21]] = [1, 1, 0, 0]
        >>> fit_mixture(codes, 2, "full", seed=0, labels=labels).means_.round(1).tolist()
        [[4.9], [0.1]]
    """
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(components, covariance_type=kind, n_init=STARTS, random_state=seed).fit(codes)
    known = np.zeros(0, bool) if labels is None else labels != UNKNOWN
    if labels is None or not known.any():
        return fitted
    labeled, classes = codes[known], labels[known]
    shown = np.unique(classes)
    order = _matched(fitted.predict(labeled), classes, components)
    means, covariances = fitted.means_[order], fitted.covariances_[order]
    means[shown] = [labeled[classes == each].mean(0) for each in shown]
    covariances[shown] = _within(labeled - means[classes], len(shown), covariances[shown].mean(0))
    precisions = np.linalg.inv(covariances) if kind == "full" else 1 / covariances
    again = GaussianMixture(
        components,
        covariance_type=kind,
        means_init=means,
        precisions_init=precisions,
        weights_init=np.full(components, 1 / components),
        random_state=seed,
    )
    return again.fit(codes)


def _matched(found: np.ndarray, classes: np.ndarray, components: int) -> np.ndarray:
    """For each class the component that agrees best one to one with the labels, the other components where none is."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((components, components))
    np.add.at(counts, (classes, found), 1)
    return linear_sum_assignment(counts, maximize=True)[1]


def _within(residuals: np.ndarray, shown: int, prior: np.ndarray) -> np.ndarray:
    """The covariance within classes, shrunk towards a prior one that counts as many data as it has dimensions."""
    weight = residuals.shape[1]
    scatter = residuals.T @ residuals if prior.ndim == 2 else (residuals**2).sum(0)
    return (scatter + weight * prior) / (len(residuals) - shown + weight)
