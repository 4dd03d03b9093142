"""Quality of the representation: simple classifiers on the latents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vaes.data import Data, Split
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.clustering import majority_accuracy
from pyro_vaes.evaluate.inputs import as_input, of_split, seeded
from pyro_vaes.evaluate.mutual_information import MutualInformation, mutual_information
from pyro_vaes.evaluate.posterior_means import active_units, posterior_mean
from pyro_vaes.given import split, take
from pyro_vaes.missing import missing_values
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.vae import VAE, Guide

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

RUNS = 5  # seeds of k-means, and random subsets of the labels


CLUSTERS = (10, 20, 30)


NEIGHBORS = 10


LABELS = (100, 1000, 10000)  # numbers of training labels, besides all of them


MAX_INFORMATION_DATA = 1000  # test data for the mutual information, whose cost is quadratic in their number


@dataclass(frozen=True)
class Probe:
    """Test accuracy of one classifier on the codes.

    Attributes:
        probe: name of the classifier.
        setting: setting of the classifier.
        labels: number of training labels.
        accuracy: mean accuracy over the runs.
        stderr: standard error of the mean over seeds or subsets of the labels, not over the test data; None for a
            single run.
    """

    probe: str
    setting: str
    labels: int
    accuracy: float
    stderr: float | None


@dataclass(frozen=True)
class Representation:
    """Quality of the latents as a representation of the data.

    Attributes:
        active_units: number of latent dimensions that respond to the test data.
        mutual_information: mutual information of test data and latents, in nats.
        probes: accuracies on the test data.
    """

    active_units: int
    mutual_information: MutualInformation
    probes: tuple[Probe, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The probes as rows of a table."""
        return [asdict(probe) for probe in self.probes]


class _Codes(NamedTuple):
    """Codes ``(N, Z)`` and labels ``(N,)``."""

    z: np.ndarray
    y: np.ndarray

    def take(self, index: np.ndarray) -> _Codes:
        return _Codes(self.z[index], self.y[index])


_Fit = Callable[[_Codes, _Codes, int], float]  # training codes, test codes and seed to test accuracy


def representation(
    model: VAE, guide: Guide, data: Data, column: int = 0, seed: int = 0, progress: bool = False
) -> Representation:
    """Quality of the representation: active units, mutual information, k-means, nearest neighbors and linear probes.

    The code of an image is E_q[z | x], see :func:`posterior_mean` (the paper estimates it by the mean of 50 draws),
    of the thresholded image if training binarizes dynamically. All classifiers are fitted to codes of the training
    split and scored on the test split:

    - k-means with 10, 20 and 30 clusters, each mapped to its most frequent training label, with 5 seeds;
    - 10 nearest neighbors, weighted by inverse distance, and logistic regression on standardized codes, with 100,
      1,000 and 10,000 labels, 5 random subsets each, and with all labels, as far as available.

    The mutual information is estimated on at most 1,000 test images, drawn by the seed.

    Args:
        model: the model.
        guide: a guide with a ``posterior``.
        data: data with labels in the training and test split.
        column: column of the labels, if there are several.
        seed: seed of draws and subsets.
        progress: whether to show a progress bar.

    Raises:
        InputError: If there are no labels to classify, or the guide has no posterior.

    References:
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> import pyro_vaes as pv
        >>> result = representation(vae, guide, pv.data.load("digits", train_size=200))
        >>> result.rows[-1]["probe"], result.rows[-1]["labels"], result.rows[-1]["stderr"]
        ('linear', 200, None)
    """
    if not isinstance(guide, Guide):
        raise InputError(f"{type(guide).__name__} has no posteriors(x), whose means are the codes: give a Guide")
    data = data.labeled
    y_train, y_test = (labels(split, name, column) for split, name in ((data.train, "train"), (data.test, "test")))
    if len(np.unique(y_train)) < 2:
        raise InputError(f"all training data have the label {y_train[0]}: probes need at least two labels")
    device = reference_weight(model).device
    with missing_values(data.has_missing), seeded(seed, device), torch.no_grad():
        x_train, x = (as_input(model, thresholded(part)) for part in (data.train, data.test))
        (train_guide,) = of_split(data.train, slice(None), guide)
        model, guide = of_split(data.test, slice(None), model, guide)
        drawn = torch.randperm(len(x))[:MAX_INFORMATION_DATA].to(x.device)
        information = mutual_information(take(model, drawn), take(guide, drawn), x[drawn], progress)
        train = _Codes(_codes(train_guide, x_train), y_train)
        test = _Codes(_codes(guide, x), y_test)
        units = active_units(guide, x)
    return Representation(units, information, tuple(_probe(train, test, seed, progress)))


def labels(split: Split, name: str, column: int) -> np.ndarray:
    """One column of a split's labels, ``(N,)``.

    Raises:
        InputError: If the split has no such column.
    """
    if split.y is None:
        raise InputError(f"the {name} split has no labels, which the probes need: give y_{name}")
    if split.y.is_floating_point():
        raise InputError(f"y of the {name} split are vectors, but the probes need labels: give integers as y_{name}")
    columns = split.y.cpu().numpy().reshape(len(split), -1)
    if not 0 <= column < columns.shape[1]:
        raise InputError(f"column is {column}: expected 0 to {columns.shape[1] - 1}, the columns of y_{name}")
    return columns[:, column]


def thresholded(split: Split) -> Tensor:
    """The images of a split, thresholded instead of dynamically binarized."""
    if split.preprocessing.binarize == "dynamic":
        split = replace(split, preprocessing=replace(split.preprocessing, binarize="threshold"))
    return split.x


def _codes(guide: Guide, x: Tensor) -> np.ndarray:
    return torch.cat([posterior_mean(view, batch) for batch, view in split(512, x, guide)]).cpu().numpy()


def _probe(train: _Codes, test: _Codes, seed: int, progress: bool) -> Iterator[Probe]:
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    settings = list(_settings(len(train.y)))
    for name, setting, count, runs, fit in tqdm(settings, desc="probes", disable=not progress):
        subsets = (train.take(rng.permutation(len(train.y))[:count]) for _ in range(runs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # collapsed codes have fewer points than clusters
            accuracies = [fit(subset, test, seed + run) for run, subset in enumerate(subsets)]
        stderr = float(np.std(accuracies, ddof=1)) / math.sqrt(runs) if runs > 1 else None
        yield Probe(name, setting, count, float(np.mean(accuracies)), stderr)


def _settings(available: int) -> Iterator[tuple[str, str, int, int, _Fit]]:
    """Name, setting, number of labels, number of runs and function of every probe, for the available labels."""
    for clusters in CLUSTERS:
        if clusters <= available:
            yield "k-means", f"{clusters} clusters", available, RUNS, partial(_k_means, clusters)
    counts = [(count, RUNS) for count in LABELS if count < available] + [(available, 1)]
    for count, runs in counts:
        yield "nearest neighbors", f"{NEIGHBORS} neighbors", count, runs, _nearest_neighbors
    for count, runs in counts:
        yield "linear", "logistic regression", count, runs, _linear


def _k_means(clusters: int, train: _Codes, test: _Codes, seed: int) -> float:
    from sklearn.cluster import KMeans

    fitted = KMeans(clusters, random_state=seed).fit(train.z)
    return majority_accuracy(train.y, fitted.labels_, test.y, fitted.predict(test.z))


def _nearest_neighbors(train: _Codes, test: _Codes, seed: int) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = min(NEIGHBORS, len(train.y))
    return float(KNeighborsClassifier(neighbors, weights="distance").fit(*train).score(*test))


def _linear(train: _Codes, test: _Codes, seed: int) -> float:
    if len(np.unique(train.y)) == 1:  # possible for a small subset
        return float(np.mean(test.y == train.y[0]))
    return float(linear_probe(*train).score(*test))


def linear_probe(codes: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Logistic regression on standardized codes, fitted to codes ``(N, Z)`` and labels ``(N,)``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes, labels)
