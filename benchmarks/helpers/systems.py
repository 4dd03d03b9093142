"""Systems trained on one data set for several seeds, and how far log p(x) of their models is above the first one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import torch

from benchmarks.helpers.estimated_models import kept
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import in_processes, train_all, words
from pyro_vaes.evaluate import difference, log_likelihood, marginal_log_likelihood, mean_interval
from pyro_vaes.evaluate.differences import describe_difference
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

FIGURES = "systems.json"
SEEDS = (0, 1, 2)
IMAGES = 1000  # test images of all figures, from the first
SAMPLES = 100  # draws of the guide for its ELBO


def measure_systems(systems: Mapping[str, str], folders: Folders, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """One row per system: log p(x) of its model, and its difference from the first system's.

    Args:
        systems: arguments of ``pyro_vaes train`` by name of the system, in which DATA stands for the folder of data.
        folders: of the benchmark.
        seeds: of the trainings.
    """
    runs = train_systems(systems, folders, seeds)
    measured = dict(zip(runs, in_processes(_kept, runs.values()), strict=True))
    first = next(iter(systems))
    baseline = _per_datum([measured[first, seed] for seed in seeds])
    rows = []
    for name, flags in systems.items():
        found = [measured[name, seed] for seed in seeds]
        above = None if name == first else vars(difference(_per_datum(found), baseline))
        rows.append(
            {
                "system": name,
                "training": flags,
                "log_likelihood": vars(mean_interval(_per_datum(found))),
                "above": above,
                **{key: [each[key] for each in found] for key in ("elbo", "unreliable", "epochs", "minutes")},
                "data": found[0]["data"],
            }
        )
    return rows


def train_systems(systems: Mapping[str, str], folders: Folders, seeds: Sequence[int]) -> dict[tuple[str, int], Path]:
    """Train every system that is not trained yet, seed after seed; returns the run folder of each system and seed."""
    jobs = {
        (name, seed): [*words(flags, folders.data), "--seed", str(seed)]
        for seed in seeds
        for name, flags in systems.items()
    }
    names = {key: run_name(folders.name, *key) for key in jobs}
    train_all({names[key]: each for key, each in jobs.items()}, folders.work)
    return {key: folders.work / name for key, name in names.items()}


def run_name(benchmark: str, system: str, seed: int) -> str:
    """The name of a run, which begins with the benchmark, as several may share a folder of trainings."""
    return f"{benchmark}-{slug(system)}-seed{seed}"


def systems_page(rows: Sequence[Row]) -> list[str]:
    """The table of all systems, and the arguments of each."""
    first = rows[0]["system"]
    header = ["system", "log p(x)", f"above {first}", "df", "ELBO", "gap", "k-hat > 0.7", "epochs", "minutes"]
    return [
        markdown_table(header, [_cells(row) for row in rows]),
        "",
        f"Means over {len(rows[0]['epochs'])} seeds and {IMAGES} test images, with 95 % t intervals as for new seeds "
        "and images; the share of untrusted estimates is the largest of a seed, epochs are those of each seed, minutes "
        "their mean.",
        "",
        rows[0]["data"],
        "",
        *(f"- {row['system']}: `pyro_vaes train {row['training']}`" for row in rows),
    ]


def _cells(row: Row) -> list[str]:
    found, elbo, above = row["log_likelihood"], mean(row["elbo"]), row["above"]
    if above is None:
        difference_and_df = ["", ""]
    else:
        text = describe_difference(above["mean"], above["low"], above["high"])
        difference_and_df = [text, f"{above['degrees_of_freedom']:.1f}"]
    return [
        row["system"],
        f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
        *difference_and_df,
        f"{elbo:.2f}",
        f"{found['mean'] - elbo:.2f}",
        f"{max(row['unreliable']):.1%}",
        ", ".join(map(str, row["epochs"])),
        f"{mean(row['minutes']):.1f}",
    ]


def _kept(run: Path) -> Row:
    """The figures of a run; those that were measured before are read."""
    return kept(run / FIGURES, partial(_measure, run))


def _measure(run: Path) -> Row:
    torch.manual_seed(0)
    data, (model, guide, _), history, _ = load_run(run, device="cpu")
    x = data.test.x[:IMAGES]
    estimate = marginal_log_likelihood(model, x, guide, out=run / "log_likelihood")
    return {
        "per_datum": estimate.per_datum.tolist(),
        "unreliable": estimate.unreliable,
        "elbo": log_likelihood(model, guide, x, SAMPLES).elbo.mean().item(),
        "epochs": len(history),
        "minutes": sum(row["seconds"] for row in history) / 60,
        "data": data.description,
    }


def _per_datum(measured: Sequence[Row]) -> torch.Tensor:
    return torch.tensor([row["per_datum"] for row in measured])
