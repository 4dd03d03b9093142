"""Factors of the data that each level of latents encodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pyro_vaes.data import Data, Split
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating, of_split, seeded
from pyro_vaes.evaluate.posterior_means import posterior_means
from pyro_vaes.evaluate.representation import labels, linear_probe, thresholded
from pyro_vaes.given import split
from pyro_vaes.missing import missing_values

CHUNK = 512  # data encoded at a time


@dataclass(frozen=True)
class FactorProbe:
    """Probe of one level for one factor, on the test data.

    Attributes:
        level: the latent's site, ``"z1"`` the lowest; ``"z"`` if there is only one.
        factor: name of the factor.
        accuracy: accuracy of a linear probe from the level's codes to the factor.
        accuracy_stderr: standard error of the accuracy over the test data.
        chance: accuracy of always predicting the most frequent training label.
        information: lower bound of the mutual information between code and factor, in nats.
        information_stderr: standard error of the information over the test data.
        entropy: entropy of the factor in nats, an upper bound of the information.
    """

    level: str
    factor: str
    accuracy: float
    accuracy_stderr: float
    chance: float
    information: float
    information_stderr: float
    entropy: float


@dataclass(frozen=True)
class FactorProbes:
    """Probes of all levels for all factors.

    Attributes:
        entries: the probes, ordered by level, the lowest first, and by factor within a level.
    """

    entries: tuple[FactorProbe, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The entries as rows of a table."""
        return [asdict(entry) for entry in self.entries]


def factor_probes(
    model: Callable[..., Any],
    guide: nn.Module,
    data: Data,
    factors: Sequence[str] = (),
    seed: int = 0,
    progress: bool = False,
) -> FactorProbes:
    """Information of each level about each factor: linear probe accuracy, and a lower bound of mutual information.

    A level's code is E_q[z_l | x], of the thresholded image if training binarizes dynamically. Logistic regression
    r(y | z_l) is fitted to the standardized codes of the training split and scored on the test split. With H the
    entropy of the factor's test labels::

        I(z_l; y) ≥ H(y) + E[log r(y | z_l)]

    The bound is tight if r equals p(y | z_l), and can be negative: information that is not linearly decodable is
    missed.

    Args:
        model: the model.
        guide: its guide; codes are computed by :func:`posterior_means`.
        data: data with a column of labels for each factor in the training and test split.
        factors: names of the columns; ``"y1"`` ... by default.
        seed: seed of the draws.
        progress: whether to show a progress bar.

    Raises:
        InputError: If the numbers of names and columns differ, a factor has a single label, or the test split has a
            label that the training split lacks.

    References:
        The IM Algorithm: A Variational Approach to Information Maximization (Barber, Agakov, 2003) for the bound.

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("coloured-digits", train_size=400)
        >>> vae = pv.VAE(pv.networks.MLPDecoder(2, data.event_shape, (8,)), pv.priors.StandardNormal(2),
        ...              pv.likelihoods.Gaussian())
        >>> guide = pv.guides.MeanField(vae, pv.networks.MLPEncoder(data.event_shape, (8,)))
        >>> table = factor_probes(vae, guide, data, pv.data.FACTORS)
        >>> [(row["level"], row["factor"]) for row in table.rows]
        [('z', 'digit'), ('z', 'ink'), ('z', 'background'), ('z', 'thickness')]
    """
    data = data.labeled
    columns = _columns(data, factors)
    with (
        evaluating(model, guide),
        missing_values(data.has_missing),
        seeded(seed, next(guide.parameters()).device),
        torch.no_grad(),
    ):
        train, test = (_codes(model, guide, part) for part in (data.train, data.test))
    pairs = [(level, factor) for level in train for factor in columns]
    bar = tqdm(pairs, desc="factors", disable=not progress)
    return FactorProbes(tuple(_entry(*pair, train[pair[0]], test[pair[0]], *columns[pair[1]]) for pair in bar))


def _columns(data: Data, factors: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test labels of each factor, by name."""
    width = _width(data.train)
    names = list(factors) or [f"y{column}" for column in range(1, width + 1)]
    if len(names) != width or len(set(names)) != width:
        raise InputError(f"factors is {names}, but y has {width} columns: give a distinct name for each")
    columns = {
        name: (labels(data.train, "train", column), labels(data.test, "test", column))
        for column, name in enumerate(names)
    }
    for name, (train, test) in columns.items():
        if len(np.unique(train)) < 2:
            raise InputError(f"all training data have the same {name}, {train[0]}: a probe needs at least two labels")
        if len(unseen := np.setdiff1d(test, train)):
            raise InputError(f"{name} is {unseen[0]} in the test split, but never in the training split: use more data")
    return columns


def _width(split: Split) -> int:
    return 1 if split.y is None or split.y.dim() == 1 else split.y.shape[1]


def _codes(model: Callable[..., Any], guide: nn.Module, data: Split) -> dict[str, np.ndarray]:
    """Codes of all data of a split, by level, each ``(N, Z)``."""
    x, like = as_input(model, thresholded(data)), next(guide.parameters())
    _, bound = of_split(data, slice(None), model, guide)
    batches = [posterior_means(view, batch.to(like)) for batch, view in split(CHUNK, x, bound)]
    whole = {level: torch.cat([batch[level] for batch in batches]) for level in batches[0]}
    return {level: z.reshape(len(x), -1).double().cpu().numpy() for level, z in whole.items()}


def _entry(
    level: str,
    factor: str,
    z_train: np.ndarray,
    z_test: np.ndarray,
    y_train: np.ndarray,
    y_test: np.ndarray,
) -> FactorProbe:
    probe = linear_probe(z_train, y_train)
    known, counts = np.unique(y_train, return_counts=True)
    log_r = probe.predict_log_proba(z_test)
    correct = known[log_r.argmax(1)] == y_test
    _, inverse, frequencies = np.unique(y_test, return_inverse=True, return_counts=True)
    surprise = -np.log(frequencies / len(y_test))[inverse]  # whose mean is the entropy
    pointwise = surprise + log_r[np.arange(len(y_test)), np.searchsorted(known, y_test)]
    return FactorProbe(
        level,
        factor,
        accuracy=float(correct.mean()),
        accuracy_stderr=_stderr(correct),
        chance=float(np.mean(y_test == known[counts.argmax()])),
        information=float(pointwise.mean()),
        information_stderr=_stderr(pointwise),
        entropy=float(surprise.mean()),
    )


def _stderr(values: np.ndarray) -> float:
    return float(values.std()) / math.sqrt(len(values))
