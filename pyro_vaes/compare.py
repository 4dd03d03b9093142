"""Guides compared under one model: same initial decoder, data order, epochs and budget, several seeds."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyro_vaes import plots
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import LogLikelihood, active_units, log_likelihood, ppca
from pyro_vaes.losses import ELBO
from pyro_vaes.recipes import Settings, System, build_guide, build_vae
from pyro_vaes.training import Run, choose_device, fit

COLUMNS = {
    "elbo": "ELBO",
    "log_likelihood": "log p(x)",
    "gap": "gap",
    "unreliable": "k-hat > 0.7",
    "active_units": "active units",
    "step_ms": "ms a step",
    "parameters": "parameters",
}
PICTURED = 10  # images a row


@dataclass(frozen=True)
class Trial:
    """One guide trained with one seed, and what was measured of it on the test split."""

    guide: str
    seed: int
    system: System
    run: Run
    estimate: LogLikelihood
    active_units: int

    def row(self) -> dict[str, Any]:
        """The figures of this trial by column."""
        parameters = sum(p.numel() for p in (*self.system.model.parameters(), *self.system.guide.parameters()))
        return {
            "guide": self.guide,
            "seed": self.seed,
            "elbo": self.estimate.elbo.mean().item(),
            "log_likelihood": self.estimate.mean,
            "log_likelihood_stderr": self.estimate.stderr,
            "gap": self.estimate.gap,
            "unreliable": self.estimate.unreliable,
            "active_units": self.active_units,
            "step_ms": statistics.median(row["step_ms"] for row in self.run.history),
            "parameters": parameters,
            "best_epoch": self.run.best_epoch,
        }


def compare(
    data: Data,
    guides: Sequence[str],
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    num_samples: int = 1000,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> list[Trial]:
    """Train each guide with each seed on the same model and data, and write a report.

    The report's folder gets ``report.md``, ``report.csv`` (a row a guide), ``trials.csv`` (a row a guide and
    seed), pictures, and a run folder a trial under ``runs``.

    Args:
        data: what to train and test on.
        guides: names of guides, with options if any: ``laplace(updates=1)``.
        settings: model and budget.
        seeds: a trial each.
        out: folder of the report.
        num_samples: importance samples a test datum.
        device: as in ``fit``.
        overwrite: whether to replace the report that ``out`` holds.
        progress: whether to show progress bars.

    Returns:
        The finished trials; Ctrl-C leaves those that were finished, and a report on them.

    Raises:
        InputError: for guides or settings that do not exist or an existing report, before any training.
    """
    _check(data, guides, settings, seeds, out, overwrite, device, num_samples)
    trials: list[Trial] = []
    for name in guides:
        for seed in seeds:
            if progress:
                print(f"{name}, seed {seed}", flush=True)
            system = _system(name, seed, data, settings)
            run = fit(
                system.model,
                system.guide,
                data,
                system.loss,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                lr=settings.lr,
                seed=seed,
                device=device,
                out=out / "runs" / f"{name}-seed{seed}",
                overwrite=overwrite,
                progress=progress,
            )
            if run.interrupted:
                break
            trials.append(_measure(name, seed, system, run, data, num_samples))
        else:
            continue
        break
    if trials:
        write_report(trials, data, settings, out, num_samples)
    return trials


def write_report(trials: Sequence[Trial], data: Data, settings: Settings, out: Path, num_samples: int) -> None:
    """Write tables and pictures of some trials to a folder."""
    rows = [trial.row() for trial in trials]
    summary = _summary(rows)
    if trials[0].system.model.likelihood.quadratic and settings.latent_dim < math.prod(data.event_shape):
        baseline = ppca(data.train.x, data.test.x, settings.latent_dim)
        summary.append(
            {"guide": "pPCA (exact)", "log_likelihood": baseline.mean, "log_likelihood_stderr": baseline.stderr}
        )
    (out / "trials.csv").write_text(_csv(rows), encoding="utf-8")
    (out / "report.csv").write_text(_csv(summary), encoding="utf-8")
    pictures = _pictures(trials, data)
    for name, figure in pictures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    (out / "report.md").write_text(_markdown(summary, trials, data, settings, num_samples, pictures), encoding="utf-8")


def _check(
    data: Data,
    guides: Sequence[str],
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    overwrite: bool,
    device: str,
    num_samples: int,
) -> None:
    if not guides or not seeds:
        raise InputError("nothing to compare: give at least one guide and one seed")
    if len(set(guides)) < len(guides) or len(set(seeds)) < len(seeds):
        raise InputError(f"guides {list(guides)} and seeds {list(seeds)} must not repeat")
    if num_samples < 1:
        raise InputError(f"num_samples is {num_samples}: expected a whole number, 1 or more")
    choose_device(device)
    for name in guides:
        _system(name, seeds[0], data, settings).model.likelihood.check(data.train.x[:1000])
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise InputError(f"{out} exists already: give another folder with --out, or replace it with --overwrite")


def _system(name: str, seed: int, data: Data, settings: Settings) -> System:
    """The model first, so that its initial weights are the same under every guide."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = build_vae(data.event_shape, settings)
        return System(model, build_guide(name, model, data.event_shape, settings), ELBO())


def _measure(name: str, seed: int, system: System, run: Run, data: Data, num_samples: int) -> Trial:
    x = data.test.x
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimate = log_likelihood(*system[:2], x, num_samples)
    return Trial(name, seed, system, run, estimate, active_units(system.guide, x))


def _summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a guide: means over the seeds; the error of log p(x) over seeds and over data."""
    by_guide: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_guide.setdefault(row["guide"], []).append(row)
    summary = []
    for guide, group in by_guide.items():
        means = {column: statistics.mean(row[column] for row in group) for column in COLUMNS}
        values = [row["log_likelihood"] for row in group]
        over_seeds = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        over_data = statistics.mean(row["log_likelihood_stderr"] for row in group)
        errors = {"log_likelihood_stderr_seeds": over_seeds, "log_likelihood_stderr": over_data}
        summary.append({"guide": guide, "seeds": len(group), **means, **errors})
    return summary


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(
    summary: Sequence[dict[str, Any]],
    trials: Sequence[Trial],
    data: Data,
    settings: Settings,
    num_samples: int,
    pictures: Iterable[str],
) -> str:
    def number(row: dict[str, Any], column: str, form: str) -> str:
        value = row.get(column)
        return "" if value is None or value != value else format(value, form)

    forms = {"elbo": ".2f", "gap": ".2f", "unreliable": ".1%", "active_units": ".1f", "step_ms": ".2f"}
    header = ["guide", "ELBO", "log p(x)", "± seeds", "± images", *list(COLUMNS.values())[2:]]
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * (len(header) - 1) + "|"]
    for row in summary:
        cells = [
            row["guide"],
            number(row, "elbo", forms["elbo"]),
            number(row, "log_likelihood", ".2f"),
            number(row, "log_likelihood_stderr_seeds", ".2f"),
            number(row, "log_likelihood_stderr", ".2f"),
            *(number(row, column, forms.get(column, ",.0f")) for column in list(COLUMNS)[2:]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    likelihood = settings.likelihood
    hidden = "-".join(map(str, settings.hidden))
    seeds = sorted({trial.seed for trial in trials})
    return "\n".join(
        [
            f"# Guides compared on {data.name}",
            "",
            f"- Data: {data.description}.",
            f"- Model: VAE, standard normal prior of {settings.latent_dim} dimensions, {likelihood} likelihood, fully "
            f"connected networks {hidden}; the same initial decoder, data order and budget under every guide.",
            f"- Training: {settings.epochs} epochs, batch {settings.batch_size}, Adam {settings.lr:g}, seeds "
            f"{', '.join(map(str, seeds))}; weights of the best validation ELBO.",
            f"- Figures are nats an image on the test split: {trials[0].estimate.describe()}. They are means over "
            "seeds; ± seeds is the standard error over seeds, ± images that over test images.",
            "- k-hat > 0.7 is the share of images whose importance weights cannot be trusted: there log p(x) is "
            "likely underestimated, and with it the gap, log p(x) - ELBO.",
            f"- Time: {trials[0].run.history and torch.get_num_threads()} threads, torch {torch.__version__}.",
            "",
            *lines,
            "",
            *(f"![{name}]({name}.png)\n" for name in pictures),
        ]
    )


@torch.no_grad()
def _pictures(trials: Sequence[Trial], data: Data) -> dict[str, Any]:
    first = {trial.guide: trial for trial in reversed(trials)}
    first = {name: first[name] for name in dict.fromkeys(trial.guide for trial in trials)}
    histories = {name: [t.run.history for t in trials if t.guide == name] for name in first}
    figures: dict[str, Any] = {"learning-curves": plots.learning_curves(histories)}
    device = next(trials[0].system.model.parameters()).device
    x = data.test.x[:PICTURED].to(device)
    if len(data.event_shape) == 3 and data.event_shape[0] in (1, 3):
        systems = [trial.system for trial in first.values()]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            samples = [model.decode(model.prior().sample((PICTURED,))) for model, _, _ in systems]
        rebuilt = [model.decode(guide.posterior(x).mean) for model, guide, _ in systems]
        figures["samples"] = plots.image_grid(samples, list(first))
        figures["reconstructions"] = plots.image_grid([x, *rebuilt], ["original", *first])
    if trials[0].system.model.latent_dim == 2:
        pairs = {name: (trial.system.model, trial.system.guide) for name, trial in first.items()}
        figures["posteriors"] = plots.posteriors(pairs, x[:5])
    return figures
