"""Accuracy of a guide's clusters as classes, where labels of some data trained them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vaes.data import Data, Split
from pyro_vaes.data.missing import is_missing
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating, seeded
from pyro_vaes.evaluate.representation import labels, thresholded
from pyro_vaes.missing import missing_values
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.vae import Guide

CHUNK = 500  # data clustered at a time
NEIGHBORS = 5


@dataclass(frozen=True)
class Classification:
    """Test accuracy of q(y | x), with that of nearest neighbors on the same labels beside it.

    Attributes:
        accuracy: share of the test data whose likeliest cluster is the label.
        accuracy_stderr: standard error of the accuracy over the test data.
        shown: accuracy on the test data of those classes that training labels show.
        neighbors: accuracy of the nearest neighbors among the labeled training data, by distance of the data, missing
            values being 0.
        num_labels: number of labeled training data.
        num_classes: number of classes that they show.
    """

    accuracy: float
    accuracy_stderr: float
    shown: float
    neighbors: float
    num_labels: int
    num_classes: int

    def describe(self) -> str:
        """The figures in words."""
        return (
            f"accuracy of q(y | x) {self.accuracy:.2%} ± {self.accuracy_stderr:.2%}; {NEIGHBORS} nearest neighbors on "
            f"the same {self.num_labels} labels of {self.num_classes} classes {self.neighbors:.2%}"
        )


def classification(
    model: nn.Module, guide: Guide, data: Data, site: str | None = None, seed: int = 0
) -> Classification:
    """Test accuracy of q(y | x), the clusters being the classes, as a training with labels makes them.

    Images are thresholded instead of dynamically binarized. For clusters without labels see
    :func:`~pyro_vaes.evaluate.clustering`.

    Args:
        model: the model.
        guide: a guide with clusters.
        data: data with labels of some training data and all test data, see :func:`pyro_vaes.data.hide_labels`.
        site: name of the cluster's site, by default the only one; its labels are the column of its place among them.
        seed: seed of draws, of guides that need some.

    Raises:
        InputError: If the guide has no such cluster, or labels are missing.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014).

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.hide_labels(pv.data.load("digits"), keep=50)
        >>> model, guide, loss = pv.recipes.mixture(data.event_shape, likelihood="gaussian")
        >>> result = classification(model, guide, data)
        >>> result.num_labels, result.num_classes, result.neighbors > 0.7
        (50, 10, True)
    """
    train, test = data.train.labeled, data.test
    if not len(train):
        raise InputError("no training example has a label: give y_train with labels from 0 on, and -1 where unknown")
    device = reference_weight(model).device
    with evaluating(model, guide), missing_values(data.has_missing), seeded(seed, device):
        x = as_input(model, thresholded(test))
        batches = [guide.clusters(batch) for batch in x.split(CHUNK)]
    name, column = _site(guide, batches[0], site)
    y_train, y_test = (labels(*named, column) for named in ((train, "train"), (test, "test")))
    correct = torch.cat([batch[name] for batch in batches]).argmax(-1).cpu().numpy() == y_test
    shown = np.isin(y_test, y_train)
    return Classification(
        accuracy=float(correct.mean()),
        accuracy_stderr=float(correct.std()) / math.sqrt(len(correct)),
        shown=float(correct[shown].mean()),
        neighbors=_neighbors(train, y_train, test, y_test),
        num_labels=len(y_train),
        num_classes=len(np.unique(y_train)),
    )


def _site(guide: Guide, found: Mapping[str, Tensor], site: str | None) -> tuple[str, int]:
    """Name of the cluster's site, and the column of its labels."""
    name = next(iter(found)) if site is None and len(found) == 1 else site
    if name not in found:
        sites = f"the clusters {', '.join(found)}" if found else "no clusters"
        raise InputError(f"the guide {type(guide).__name__} has {sites}: site is {site!r}, expected one of them")
    return str(name), list(found).index(str(name))


def _neighbors(train: Split, y_train: np.ndarray, test: Split, y_test: np.ndarray) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    pixels = [torch.as_tensor(split.pixels[:]) for split in (train, test)]
    inputs = [torch.where(is_missing(each), 0, each).flatten(1).double().cpu().numpy() for each in pixels]
    found = KNeighborsClassifier(min(NEIGHBORS, len(y_train)), weights="distance").fit(inputs[0], y_train)
    return float(found.score(inputs[1], y_test))
