"""The measurement of a model and its guide on test data: log p(x), the ELBO, and the guide's own bound."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.data import Data
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import LogLikelihood, MarginalLogLikelihood, log_likelihood, marginal_log_likelihood
from pyro_vaes.evaluate.inputs import seeded
from pyro_vaes.evaluate.marginal.estimate import METHODS
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.reports.tables import write_csv
from pyro_vaes.validation import check_whole

TEST_SIZE = 500  # test data to measure on, unless given
MARGINAL_SAMPLES = 1000  # draws per datum and round of the estimate of log p(x)
VALUES = (
    *("log_likelihood", "log_likelihood_stderr", "pareto_k", "effective_samples"),  # of the model
    *("importance_bound", "elbo", "guide_pareto_k"),  # of the guide
)


@dataclass(frozen=True)
class Measurement:
    """log p(x) of a model and the bounds of its guide on the same N data.

    Attributes:
        marginal: log p(x) of the model, which depends on no guide's quality.
        bounds: ELBO and importance-weighted bound by draws of the guide, and k-hat of their weights.
    """

    marginal: MarginalLogLikelihood
    bounds: LogLikelihood

    @property
    def gap(self) -> Tensor:
        """log p(x) - ELBO = KL(q(z | x) ‖ p(z | x)) in nats, shape ``(N,)``."""
        return self.marginal.per_datum - self.bounds.elbo

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of a report by name: means over the data, shares, and how many data each method estimated."""
        return {
            "log_likelihood": self.marginal.mean,
            "log_likelihood_stderr": self.marginal.stderr,
            "elbo": self.bounds.elbo.mean().item(),
            "gap": self.gap.mean().item(),
            "guide_unreliable": self.bounds.unreliable,
            "unreliable": self.marginal.unreliable,
            **{name.replace(" ", "_"): self.marginal.method.count(name) for name in METHODS},
            "importance_bound": self.bounds.mean,
        }

    def describe(self) -> str:
        """Both estimators, with their numbers of samples and data."""
        return f"{self.marginal.describe()}; ELBO and importance_bound by {self.bounds.describe()}"

    def write(self, path: Path) -> None:
        """Write the values of each datum as CSV."""
        of_model, of_guide = self.marginal, self.bounds
        tensors = (
            *(of_model.per_datum, of_model.per_datum_stderr, of_model.pareto_k, of_model.effective_samples),
            *(of_guide.per_datum, of_guide.elbo, of_guide.pareto_k),
        )
        rows = zip(*(each.tolist() for each in tensors), of_model.method, strict=True)
        write_csv(path, [dict(zip((*VALUES, "method"), row, strict=True)) for row in rows])

    @classmethod
    def read(cls, path: Path, size: int, num_samples: int) -> Measurement:
        """The measurement that :meth:`write` wrote, of this number of data and of draws of the guide.

        Raises:
            ValueError: If the file is damaged.
        """
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if len(rows) != size:
            raise ValueError(f"it holds the values of {len(rows)} data, not {size}")
        try:
            columns = [torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in VALUES]
            methods = tuple(METHODS[METHODS.index(row["method"])] for row in rows)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a value is missing, {error}") from error
        log_p, stderr, khat, effective, bound, elbo, guide_khat = columns
        return cls(
            MarginalLogLikelihood(log_p, stderr, khat, effective, methods, MARGINAL_SAMPLES),
            LogLikelihood(bound, elbo, guide_khat, num_samples),
        )


def measure(
    model: nn.Module,
    guide: nn.Module,
    x: Tensor,
    num_samples: int,
    seed: int,
    marginal: MarginalLogLikelihood | None = None,
    progress: bool = False,
) -> Measurement:
    """Measure log p(x) of the model and the bounds of the guide; the random state is left as it was.

    Args:
        model: the model.
        guide: its guide.
        x: the data, ``(N, *event_shape)``.
        num_samples: draws of the guide per datum.
        seed: fixes all draws.
        marginal: log p(x) of this model and these data, where it is known.
        progress: whether to show bars.

    Example:
        >>> found = measure(vae, guide, x, num_samples=50, seed=0)
        >>> bool((found.gap > 0).all()), found.figures["unreliable"]
        (True, 0.0)
    """
    with seeded(seed, reference_weight(model).device):
        bounds = log_likelihood(model, guide, x, num_samples, progress=progress)
    if marginal is None:
        marginal = marginal_log_likelihood(model, x, guide, MARGINAL_SAMPLES, seed=seed, progress=progress)
    return Measurement(marginal, bounds)


def measured_rows(data: Data, test_size: int | None) -> Tensor:
    """Indices of the test data to measure on, evenly spaced: ``test_size`` of them, by default at most 500.

    Raises:
        InputError: If there are not so many, or fewer than the two that an interval needs.
    """
    size = len(data.test)
    chosen = min(TEST_SIZE, size) if test_size is None else check_whole("test_size", test_size)
    if size < 2:
        raise InputError("the test split holds one observation: give two or more, which standard errors need")
    if not 2 <= chosen <= size:
        raise InputError(f"test_size is {chosen}: expected 2 to {size}, the test data that there are")
    return evenly_spaced(size, chosen)


def binarized(data: Data, rows: Tensor, binarizations: int) -> list[Tensor]:
    """Some test data under several fixed binarizations of the same images.

    Raises:
        InputError: If the data are not binarized dynamically.

    Example:
        >>> import pyro_vaes as pv
        >>> first, second = binarized(pv.data.load("digits", binarize="dynamic"), torch.arange(20), binarizations=2)
        >>> first.shape == second.shape, bool((first == second).all())
        (True, False)
    """
    check_whole("binarizations", binarizations)
    if binarizations > 1 and data.test.preprocessing.binarize != "dynamic":
        raise InputError(
            f"binarizations is {binarizations}, but these data are {data.test.preprocessing.describe()}: leave it out, "
            "or binarize them dynamically (--binarize dynamic)"
        )
    seeds = range(data.test.seed, data.test.seed + binarizations)
    return [replace(data.test, seed=seed).x[rows] for seed in seeds]


def average(measured: Sequence[Measurement]) -> dict[str, Any]:
    """The figures of measurements of the same images under several binarizations.

    Means and shares are averaged, numbers of data added; the standard error is that of the mean over images of their
    averages, since the binarizations of one image are no observations of their own.

    Example:
        >>> found = measure(vae, guide, x, num_samples=50, seed=0)
        >>> average([found]) == found.figures
        True
    """
    figures = [each.figures for each in measured]
    counts = {name.replace(" ", "_") for name in METHODS}
    over = {name: sum(each[name] for each in figures) for name in figures[0]}
    averaged = {name: value if name in counts else value / len(measured) for name, value in over.items()}
    per_image = torch.stack([each.marginal.per_datum for each in measured]).mean(0)
    return averaged | {"log_likelihood_stderr": (per_image.std() / math.sqrt(len(per_image))).item()}


def part(size: int, whole: int) -> str:
    """A part of the test data in words.

    Example:
        >>> part(500, 10000), part(12, 12)
        ('500 evenly spaced of 10000', '12')
    """
    return str(whole) if size == whole else f"{size} evenly spaced of {whole}"
