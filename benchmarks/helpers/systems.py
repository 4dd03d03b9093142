"""Systems trained on one data set for several seeds, and how far log p(x) of their models is above the first one's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor

from benchmarks.helpers.estimated_models import kept
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.trainings import in_processes, train_all, words
from benchmarks.helpers.verdicts import Difference, beyond_intervals, not_distinguishable
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.evaluate import difference, log_likelihood, marginal_log_likelihood, mean_interval
from pyro_vaes.evaluate.differences import MeanInterval
from pyro_vaes.recipes.spec import slug
from pyro_vaes.reports.tables import markdown_table
from pyro_vaes.runs.load_run import load_run

FIGURES = "systems.json"
FIGURES_OF_SEEDS = ("elbo", "gap", "unreliable", "epochs", "rise", "minutes")
START = "START"
ABOUT_START = f"{START} stands for `--start` with the run folder of the first system and the same seed."
SEEDS = (0, 1, 2)
IMAGES = 200  # test images of log p(x)
SAMPLES = 100  # draws of the guide for its ELBO of these
WHOLE_SAMPLES = 10  # and of each test image
UNTRUSTED = 0.01  # share of the data, above which it is reported
STILL_RISING = 0.1  # nats in the last tenth of a training, above which it is reported


def measure_systems(systems: Mapping[str, str], folders: Folders, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """One row per system: log p(x) of its model, and its difference from that of its baseline.

    The baseline is the first system; of those from START it is the first of them.

    Args:
        systems: arguments of ``pyro_vaes train`` by name of the system, in which DATA stands for the folder of data,
            and START for ``--start`` from the first system's training with the same seed.
        folders: of the benchmark.
        seeds: of the trainings.
    """
    runs = train_systems(systems, folders, seeds)
    measured = dict(zip(runs, in_processes(_kept, runs.values()), strict=True))
    first = next(iter(systems))
    per_datum = {
        name: torch.stack([as_of_all(measured[name, seed]["per_datum"], measured[first, seed]) for seed in seeds])
        for name in systems
    }
    rows = []
    for name, flags in systems.items():
        found, baseline = [measured[name, seed] for seed in seeds], _baseline(name, systems)
        rows.append(
            {
                "system": name,
                "training": flags,
                "log_likelihood": vars(mean_interval(per_datum[name])),
                "baseline": baseline,
                "above": None if baseline is None else vars(difference(per_datum[name], per_datum[baseline])),
                **{key: [each[key] for each in found] for key in FIGURES_OF_SEEDS},
                "data": found[0]["data"],
            }
        )
    return rows


def train_systems(systems: Mapping[str, str], folders: Folders, seeds: Sequence[int]) -> dict[tuple[str, int], Path]:
    """Train every system that is not trained yet, those from START after the others; returns all run folders."""
    runs = {(name, seed): folders.work / run_name(folders.name, name, seed) for seed in seeds for name in systems}
    first = next(iter(systems))
    from_scratch, started = {}, {}
    for (name, seed), run in runs.items():
        flags = systems[name].replace(START, f"--start {runs[first, seed]}")
        jobs = from_scratch if flags == systems[name] else started
        jobs[run.name] = [*words(flags, folders.data), "--seed", str(seed)]
    train_all(from_scratch, folders.work)
    train_all(started, folders.work)
    return runs


def _baseline(name: str, systems: Mapping[str, str]) -> str | None:
    """The system that a system is compared with; None for the first."""
    first = next(iter(systems))
    started = [each for each, flags in systems.items() if START in flags.split()]
    if name == first:
        return None
    return started[0] if name in started[1:] else first


def run_name(benchmark: str, system: str, seed: int) -> str:
    """The name of a run, which begins with the benchmark, as several may share a folder of trainings."""
    return f"{benchmark}-{slug(system)}-seed{seed}"


def systems_page(rows: Sequence[Row], systems: Iterable[str] = ()) -> list[str]:
    """The table of all systems, the arguments of each, and those of ``systems`` that have not been trained."""
    measured = {row["system"] for row in rows}
    left = ", ".join(name for name in systems if name not in measured)
    header = ["system", "log p(x)", "above", "nats", "df", "ELBO", "gap", "k-hat > 0.7", "epochs", "rise", "minutes"]
    return [
        markdown_table(header, [_cells(row) for row in rows]),
        "",
        f"Means over {len(rows[0]['epochs'])} seeds, in nats. log p(x): the marginal log-likelihood of {IMAGES} evenly "
        "spaced test images, carried over to all of them by regression on the first system's ELBO. Above: its "
        "difference, paired. Intervals are 95 % t intervals, as for new seeds and images. ELBO: that of all test "
        "images; gap: how far log p(x) is above it, of the former. The share of untrusted estimates is the largest of "
        "a seed. Epochs are those of each seed; rise is that of the best validation bound in the last tenth of them, "
        "the largest of a seed: near 0 where a training has converged. Minutes are epochs times the median epoch's "
        "time, on one thread; all trainings together took "
        f"{sum(map(sum, (row['minutes'] for row in rows))) / 60:.1f} hours of it.",
        "",
        rows[0]["data"],
        "",
        *(f"- {row['system']}: `pyro_vaes train {row['training']}`" for row in rows),
        *(["", ABOUT_START] if any(START in row["training"].split() for row in rows) else []),
        *(["", f"Not trained: {left}."] if left else []),
    ]


def answer(rows: Sequence[Row]) -> list[str]:
    """Systems that are above or below their baseline, beyond the interval."""
    return beyond_intervals(_differences(rows))


def not_shown(rows: Sequence[Row]) -> list[str]:
    """Systems that are not distinguishable from their baseline, had not converged, or whose estimates are untrusted."""
    lines = not_distinguishable(_differences(rows))
    for row in rows:
        name, untrusted, rise = row["system"], max(row["unreliable"]), max(row["rise"])
        if untrusted > UNTRUSTED:
            lines.append(f"{untrusted:.1%} of the estimates of {name} have k-hat above 0.7.")
        if rise > STILL_RISING:
            lines.append(f"{name} had not converged, {rise:.2f} nats in the last tenth of a training.")
    return lines


def as_of_all(values: Sequence[float], first: Row) -> Tensor:
    """Values of some of the data, moved by regression on the first system's ELBO of these to its ELBO of all data.

    Their mean estimates that of all data, with the standard error of what this ELBO leaves unexplained.
    """
    found, bounds = torch.tensor(values), torch.tensor(first["bounds"])
    (variance, covariance), _ = torch.cov(torch.stack([bounds, found])).tolist()
    return found + covariance / variance * (first["elbo"] - bounds)


def _cells(row: Row) -> list[str]:
    estimate, above = MeanInterval(**row["log_likelihood"]), _above(row)
    compared = ["", "", ""]
    if above is not None:
        compared = [row["baseline"], above.describe(), f"{above.degrees_of_freedom:.1f}"]
    return [
        row["system"],
        f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]",
        *compared,
        f"{mean(row['elbo']):.2f}",
        f"{mean(row['gap']):.2f}",
        f"{max(row['unreliable']):.1%}",
        ", ".join(map(str, row["epochs"])),
        f"{max(row['rise']):.2f}",
        f"{mean(row['minutes']):.1f}",
    ]


def _differences(rows: Sequence[Row]) -> list[Difference]:
    found = [(row["system"], row["baseline"], _above(row)) for row in rows]
    return [Difference(name, baseline, each.mean, each.low, each.high) for name, baseline, each in found if each]


def _above(row: Row) -> MeanInterval | None:
    return None if row["above"] is None else MeanInterval(**row["above"])


def _kept(run: Path) -> Row:
    """The figures of a run; those that were measured before are read."""
    return kept(run / FIGURES, partial(_measure, run))


def _measure(run: Path) -> Row:
    torch.manual_seed(0)
    data, (model, guide, _), history, _ = load_run(run, device="cpu")
    x = data.test.x[evenly_spaced(len(data.test), IMAGES)]
    estimate = marginal_log_likelihood(model, x, guide, out=run / "log_likelihood")
    bounds = log_likelihood(model, guide, x, SAMPLES).elbo
    elbo = log_likelihood(model, guide, data.test.x, WHOLE_SAMPLES).elbo.mean().item()
    return {
        "per_datum": estimate.per_datum.tolist(),
        "bounds": bounds.tolist(),
        "unreliable": estimate.unreliable,
        "elbo": elbo,
        "gap": (estimate.per_datum - bounds).mean().item(),
        "epochs": len(history),
        "minutes": len(history) * median(row["seconds"] for row in history) / 60,
        "rise": _late_rise([row["valid_elbo"] for row in history]),
        "data": data.description,
    }


def _late_rise(elbos: Sequence[float]) -> float:
    """How far the best ELBO is above the best one before the last tenth of the epochs, which tells of convergence."""
    return max(elbos) - max(elbos[: -max(1, len(elbos) // 10)])
