"""Cost of log p(x) on four models: the marginal log-likelihood, the guide's own sampling, and annealing.

The first 10 test images of each model, one thread. Seconds per image, medians over three turns in which the estimates
take turns; k-hat > 0.7: share of the images whose weights cannot be trusted; standard error: root mean square over
images of the one that an estimate gives of itself; "less marginal": mean difference from the marginal log-likelihood,
± its standard error over images. Seconds to 0.05 nats: time per image until the standard error is 0.05 nats, which
falls with the square root of the time; none where weights of more than 1 % of the images cannot be trusted, for then
more of them do not mend it. Of 16 chains k-hat is not known. Estimates take turns, so that a load of the machine is on
all of them alike: compare the times with each other.

DATA holds MNIST in torchvision's layout; WORK gets the trainings, which `marginal` shares.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.helpers.estimated_models import MODELS, EstimatedModel, kept, train_models
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import interleaved
from pyro_vaes.evaluate import annealed_importance_sampling, log_weights, marginal_log_likelihood
from pyro_vaes.evaluate.estimate import log_mean_exp
from pyro_vaes.evaluate.psis import pareto_k
from pyro_vaes.reports.tables import markdown_table

IMAGES, TURNS, TARGET, MOST_UNRELIABLE = 10, 3, 0.05, 0.01
CHAINS, TEMPERATURES = 16, 500
COSTED = ("mean-field, Gaussian", "laplace(updates=1), Gaussian", "mean-field, Bernoulli", "LadderVAE, Bernoulli")
FIRST = "marginal"


def run(folders: Folders) -> list[Row]:
    """One row per model and estimate."""
    runs = train_models({name: MODELS[name] for name in COSTED}, folders.data, folders.work)
    return [row for name, path in runs.items() for row in kept(path / "cost.json", partial(_rows, name, path))["rows"]]


def page(rows: Sequence[Row]) -> list[str]:
    """One row per model and estimate."""
    header = ["model", "estimate", "seconds per image", "k-hat > 0.7", "standard error", "less marginal"]
    return [markdown_table([*header, "seconds to 0.05 nats"], [_cells(row) for row in rows])]


def _rows(name: str, path: Path) -> Row:
    each = EstimatedModel(path)
    x, found = each.x[:IMAGES], {}

    def keep(estimate: str, call: Callable[[], Any]) -> None:
        torch.manual_seed(0)
        found[estimate] = call()

    calls = {
        FIRST: lambda: marginal_log_likelihood(each.model, x, each.guide),
        "guide, 1,000 draws": lambda: log_weights(each.model, each.guide, x, 1_000),
        "guide, 10,000 draws": lambda: log_weights(each.model, each.guide, x, 10_000),
        f"annealing, {CHAINS} chains of {TEMPERATURES}": lambda: (
            annealed_importance_sampling(each.model, x, CHAINS, TEMPERATURES).log_weights
        ),
    }
    seconds = interleaved({estimate: partial(keep, estimate, call) for estimate, call in calls.items()}, TURNS, 0)
    trusted = found[FIRST]
    rows = []
    for estimate, times in seconds.items():
        if estimate == FIRST:
            log_p, stderr, khat = trusted.per_datum, trusted.per_datum_stderr, trusted.pareto_k
        else:
            log_p, stderr, khat = _mean_of(found[estimate].double())
        difference = log_p - trusted.per_datum
        rows.append(
            {
                "model": name,
                "estimate": estimate,
                "seconds": statistics.median(times) / len(x),
                "unreliable": None if khat.isnan().all() else (khat > 0.7).double().mean().item(),
                "stderr": stderr.square().mean().sqrt().item(),
                "difference": difference.mean().item(),
                "difference_stderr": difference.std().item() / math.sqrt(len(x)),
            }
        )
    return {"rows": rows}


def _mean_of(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the mean weight, its standard error and k-hat, which 16 chains are too few for: NaN."""
    log_mean = log_mean_exp(values)
    stderr = (values - log_mean).exp().std(0) / math.sqrt(len(values))
    return log_mean, stderr, pareto_k(values)


def _cells(row: Row) -> list[str]:
    to_target = row["seconds"] * (row["stderr"] / TARGET) ** 2
    return [
        row["model"],
        row["estimate"],
        f"{row['seconds']:.3f}",
        "" if row["unreliable"] is None else f"{row['unreliable']:.0%}",
        f"{row['stderr']:.3f}",
        "" if row["estimate"] == FIRST else f"{row['difference']:+.2f} ± {row['difference_stderr']:.2f}",
        f"{to_target:.3f}" if (row["unreliable"] or 0) <= MOST_UNRELIABLE else "none",
    ]
