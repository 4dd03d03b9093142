"""What a code holds: KL, active units and a linear probe; with log p(x) of the model, from a run folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.helpers.estimated_models import kept
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.systems import as_of_all, train_systems
from benchmarks.helpers.trainings import in_processes
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.evaluate import active_units, log_likelihood, marginal_log_likelihood
from pyro_vaes.evaluate.representation import labels, linear_probe, thresholded
from pyro_vaes.plots.images import image_grid
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

FIGURES = "codes.json"
SAMPLES = 200  # of log p(x) of an image
CODES, GUIDE_SAMPLES = 500, 20  # test images of all other figures, and draws of the guide for each ELBO
PICTURED = 10

#: Title and format of the columns of tables.
COLUMNS = {
    "nll": ("NLL", ".2f"),
    "nll_stderr": ("±", ".2f"),
    "unreliable": ("k-hat > 0.7", ".0%"),
    "worse": ("Δ", "+.2f"),
    "worse_stderr": ("± Δ", ".2f"),
    "elbo": ("ELBO", ".2f"),
    "reconstruction": ("reconstruction", ".2f"),
    "kl": ("KL", ".2f"),
    "active_units": ("active units", ".0f"),
    "probe": ("linear probe", ".1%"),
    "bits_per_dim": ("bits/dim, at most", ".2f"),
    "epochs": ("epochs", ".0f"),
    "minutes": ("minutes", ".1f"),
}


def train_and_measure(
    systems: Mapping[str, str], seeds: Sequence[int], folders: Folders, images: int
) -> dict[tuple[str, int], Row]:
    """The figures of every system and seed, trained where it is not yet.

    Args:
        systems: arguments of ``pyro_vaes train`` by name of the system, in which DATA stands for the folder of data.
        seeds: of the trainings.
        folders: of the benchmark.
        images: as in :func:`measure_all`.
    """
    runs = train_systems(systems, folders, seeds)
    measured = measure_all([*runs.values()], images)
    return {
        (name, seed): {"run": run.name, "training": f"{systems[name]} --seed {seed}", **figures}
        for ((name, seed), run), figures in zip(runs.items(), measured, strict=True)
    }


def measure_all(runs: Sequence[Path], images: int) -> list[Row]:
    """The figures of runs, two at a time; those that were measured before are read.

    Args:
        runs: their folders.
        images: number of test images, evenly spaced, whose log p(x) is estimated, many seconds each; 0 for none.
    """
    return in_processes(partial(_kept, images=images), runs)


def worse(row: Row, baseline: Row) -> Row:
    """By how many nats the NLL is above a baseline's on the same images."""
    pairs = zip(row["nll_per_datum"], baseline["nll_per_datum"], strict=True)
    difference = torch.tensor([one - other for one, other in pairs])
    stderr = difference.std() / math.sqrt(len(difference))
    return {"worse": difference.mean().item(), "worse_stderr": stderr.item()}


@torch.no_grad()
def draw_codes(runs: Mapping[str, Path], to: Path) -> None:
    """Test images, and under them what each run's model draws at their codes."""
    rows: dict[str, Tensor] = {}
    for name, run in runs.items():
        torch.manual_seed(0)
        data, (model, guide, _), *_ = load_run(run, device="cpu")
        x = data.test.x[:PICTURED]
        rows.setdefault("originals", x)
        rows[name] = model.decode(guide.posterior(x).mean)
    image_grid([*rows.values()], [*rows]).savefig(to, dpi=100)


@torch.no_grad()
def draw_samples(run: Path, to: Path) -> None:
    """Test images, what the model draws at their codes, and samples."""
    torch.manual_seed(0)
    data, (model, guide, _), *_ = load_run(run, device="cpu")
    x = data.test.x[:PICTURED]
    rows = [x, model.decode(guide.posterior(x).mean), model.sample(PICTURED)]
    image_grid(rows, ["originals", "reconstructions", "samples"]).savefig(to, dpi=100)


def figures_table(rows: Iterable[Row], columns: str) -> list[str]:
    """The table of runs with some columns, by their names."""
    names = columns.split()
    cells = [[row["run"], *(_cell(row.get(name), COLUMNS[name][1]) for name in names)] for row in rows]
    return [markdown_table(["run", *(COLUMNS[name][0] for name in names)], cells)]


def trainings_list(rows: Sequence[Row]) -> list[str]:
    """The data of runs, and the command of each one's training."""
    return [rows[0]["data"], "", *(f"- {row['run']}: `pyro_vaes train {row['training']}`" for row in rows)]


def _cell(value: object, form: str) -> str:
    return "" if value is None else format(value, form)


def _kept(run: Path, images: int) -> Row:
    return kept(run / FIGURES, partial(_measure, run, images))


def _measure(run: Path, images: int) -> Row:
    torch.manual_seed(0)
    data, (model, guide, _), history, _ = load_run(run, device="cpu")
    x = data.test.x[evenly_spaced(len(data.test), CODES)]
    elbo, kl = log_likelihood(model, guide, x, GUIDE_SAMPLES).elbo.mean().item(), _kl(model, guide, x)
    return {
        "elbo": elbo,
        "kl": kl,
        "reconstruction": elbo + kl,
        "bits_per_dim": -elbo / (x[0].numel() * math.log(2)) + _noise_bits(data),
        "active_units": active_units(guide, x),
        "probe": _probe(guide, data),
        "epochs": len(history),
        "minutes": sum(row["seconds"] for row in history) / 60,
        "data": data.description,
        **(_likelihood(model, guide, x[evenly_spaced(len(x), images)], elbo) if images else {}),
    }


def _likelihood(model: pv.VAE, guide: pv.Guide, x: Tensor, elbo: float) -> Row:
    """The NLL of the model, of some images, carried over to all of which there is an ELBO by regression on it."""
    estimate = marginal_log_likelihood(model, x, guide, SAMPLES)
    bounds = log_likelihood(model, guide, x, GUIDE_SAMPLES).elbo
    nll = -as_of_all(estimate.per_datum.tolist(), {"bounds": bounds.tolist(), "elbo": elbo})
    return {
        "nll": nll.mean().item(),
        "nll_stderr": nll.std().item() / math.sqrt(len(nll)),
        "unreliable": estimate.unreliable,
        "nll_per_datum": nll.tolist(),
    }


def _noise_bits(data: pv.data.Data) -> float:
    """Bits per dimension that a density of pixels with uniform noise leaves out."""
    how = data.test.preprocessing
    return math.log2(how.num_bins) if how.dequantize and how.num_bins else 0.0


@torch.no_grad()
def _kl(model: pv.VAE, guide: pv.Guide, x: Tensor, num_samples: int = 100) -> float:
    """Mean KL(q(z | x) ‖ p(z)) of the data, from draws, since a flow prior has none in closed form."""
    q, p = guide.posterior(x), model.prior()
    z = q.sample((num_samples,))
    return (q.log_prob(z) - p.log_prob(z)).mean().item()


@torch.no_grad()
def _probe(guide: pv.Guide, data: pv.data.Data) -> float:
    """Test accuracy of a linear probe from means of 50 draws.

    Means of draws are the protocol of MAE (Ma, Zhou, Hovy, 2019). Unlike E[z | x] they have noise, which drowns the
    traces of x in a posterior that has all but collapsed.
    """
    codes = [guide.posterior(thresholded(split)).sample((50,)).mean(0).numpy() for split in (data.train, data.test)]
    probe = linear_probe(codes[0], labels(data.train, "train", 0))
    return float(probe.score(codes[1], labels(data.test, "test", 0)))
