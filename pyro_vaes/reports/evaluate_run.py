"""The evaluation of one run: log p(x) of its model and the gap of its guide, in ``evaluation.json``."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path

from torch import nn

from pyro_vaes.data import Data
from pyro_vaes.data.labels import UNKNOWN
from pyro_vaes.evaluate import Classification, active_units, classification
from pyro_vaes.evaluate.inputs import of_split, seeded
from pyro_vaes.missing import missing_values
from pyro_vaes.models import ClusteredModel
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.reports.measurement import average, binarized, measure, measured_rows, part
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.vae import Guide, LatentVariableModel

EVALUATION = "evaluation.json"


def evaluate_run(
    model: nn.Module,
    guide: nn.Module,
    data: Data,
    out: str | os.PathLike[str],
    num_samples: int = 1000,
    test_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
    binarizations: int = 1,
) -> list[str]:
    """Measure a trained pair on test data, and write ``evaluation.json``; returns its figures in words.

    Args:
        model: the model.
        guide: its guide.
        data: what they were trained on.
        out: the folder of the file.
        num_samples: draws of the guide per datum, for its ELBO and its own importance weights.
        test_size: number of test data to measure on, evenly spaced; at most 500 if left out.
        seed: fixes all draws; the random state is left as it was.
        progress: whether to show bars.
        binarizations: number of fixed binarizations of the test data over which figures are averaged.

    Raises:
        InputError: If there are fewer test data, or several binarizations of data that are not binarized dynamically.
    """
    rows = measured_rows(data, test_size)
    draws = binarized(data, rows, binarizations)
    x = draws[0]
    model, guide = of_split(data.test, rows, model, guide)
    with missing_values(data.has_missing):
        measured = [measure(model, guide, each, num_samples, seed, progress=progress) for each in draws]
        with seeded(seed, reference_weight(model).device):
            units = active_units(guide, x)
        classes = labeled_classification(model, guide, data, seed)
    figures = average(measured)
    described = measured[0].describe()
    if isinstance(model, LatentVariableModel) and model.likelihood.size_factors:
        described += "; given the size of each observation, which is observed"
    if binarizations > 1:
        described += f"; each under {binarizations} binarizations of the same images, averaged"
    written = {
        **figures,
        "guide_unreliable": None if math.isnan(figures["guide_unreliable"]) else figures["guide_unreliable"],
        "active_units": units,
        **({} if classes is None else {"classification": asdict(classes)}),
        "estimator": described,
        "data": data.description,
        "split": "test",
        "seed": seed,
    }
    write_whole(Path(out) / EVALUATION, (json.dumps(written, indent=2) + "\n").encode())
    own = written["guide_unreliable"]
    weights = "unknown, from so few draws," if own is None else f"above 0.7 for {own:.1%}"
    return [
        f"{data.description}; {part(len(x), len(data.test))} data of the test split; {described}",
        f"log p(x) {figures['log_likelihood']:.2f} ± {figures['log_likelihood_stderr']:.2f} nats, that of the model; "
        f"k-hat above 0.7, not to be trusted, for {figures['unreliable']:.1%} of the images",
        f"ELBO {figures['elbo']:.2f} nats, gap log p(x) - ELBO {figures['gap']:.2f} nats",
        f"k-hat of the guide's own weights {weights} of the images, their bound {figures['importance_bound']:.2f} nats",
        f"{units} active units",
        *([] if classes is None else [classes.describe()]),
    ]


def labeled_classification(model: nn.Module, guide: nn.Module, data: Data, seed: int) -> Classification | None:
    """Accuracy of the clusters of a training on labels of some data; None for any other.

    Example:
        >>> import pyro_vaes as pv
        >>> labeled_classification(vae, guide, pv.data.load("digits"), seed=0) is None
        True
    """
    y = data.train.y
    if y is None or y.dim() > 1 or not (y == UNKNOWN).any() or data.test.y is None:
        return None
    if isinstance(model, ClusteredModel) and isinstance(guide, Guide) and len(model.clustered) == 1:
        return classification(model, guide, data, seed=seed)
    return None
