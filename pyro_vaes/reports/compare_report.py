"""The report on a comparison: tables and pictures."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes import plots
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import posterior_means, ppca
from pyro_vaes.evaluate.inputs import evaluating
from pyro_vaes.reports.tables import markdown_table, write_csv
from pyro_vaes.reports.trial import Trial
from pyro_vaes.settings import Settings

PICTURED = 10  # images per row

# column of the CSV: its title in the Markdown table and the form of its numbers
COLUMNS = {
    "elbo": ("ELBO", ".2f"),
    "log_likelihood": ("log p(x)", ".2f"),
    "log_likelihood_stderr_seeds": ("± seeds", ".2f"),
    "log_likelihood_stderr": ("± images", ".2f"),
    "difference": ("Δ", "+.2f"),
    "difference_stderr": ("± Δ", ".2f"),
    "gap": ("gap", ".2f"),
    "unreliable": ("k-hat > 0.7", ".1%"),
    "active_units": ("active units", ".1f"),
    "step_ms": ("ms per step", ".2f"),
    "inference_ms": ("ms per inference", ".2f"),
    "parameters": ("parameters", ",.0f"),
}


def write_report(
    trials: Sequence[Trial], data: Data, x_test: Tensor, settings: Settings, out: Path, num_samples: int
) -> None:
    """Write ``report.md``, ``report.csv`` (one row per guide), ``trials.csv`` (one row per trial) and pictures.

    Args:
        trials: what to report on.
        data: what they were trained on.
        x_test: what they were tested on.
        settings: their model and budget.
        out: the folder.
        num_samples: importance samples per image.
    """
    rows = [trial.row for trial in trials]
    summary = _summary(rows)
    if trials[0].system.model.likelihood.quadratic:
        with contextlib.suppress(InputError):  # it has no closed form with so many factors
            exact = ppca(data.train.x, x_test, sum(trials[0].system.model.latent_dims))
            figures = {"log_likelihood": exact.mean, "log_likelihood_stderr": exact.stderr}
            summary.append({"guide": "pPCA (exact)", **figures})
    write_csv(out / "trials.csv", rows)
    write_csv(out / "report.csv", summary)
    pictures = _pictures(trials, data, x_test)
    for name, figure in pictures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    lines = [*_preamble(trials, data, len(x_test), settings, num_samples), "", _table(summary), ""]
    lines += [f"![{name}]({name}.png)\n" for name in pictures]
    lines += ["Run again: `pyro-vaes compare --config config.yaml --out FOLDER`\n"]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per guide: means over the seeds, with standard errors, and the difference from the first guide."""
    by_guide: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_guide.setdefault(row["guide"], []).append(row)
    first = {row["seed"]: row["log_likelihood"] for row in next(iter(by_guide.values()))}
    summary: list[dict[str, Any]] = []
    for guide, group in by_guide.items():
        means = {column: statistics.mean(row[column] for row in group) for column in COLUMNS if column in group[0]}
        if len(group) > 1:
            means["log_likelihood_stderr_seeds"] = _stderr([row["log_likelihood"] for row in group])
        differences = [row["log_likelihood"] - first[row["seed"]] for row in group if row["seed"] in first]
        if summary and differences:
            means["difference"] = statistics.mean(differences)
            if len(differences) > 1:
                means["difference_stderr"] = _stderr(differences)
        summary.append({"guide": guide, "seeds": len(group), **means})
    return summary


def _stderr(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def _table(summary: Sequence[dict[str, Any]]) -> str:
    rows = [
        [row["guide"], *(format(row[column], form) if column in row else "" for column, (_, form) in COLUMNS.items())]
        for row in summary
    ]
    return markdown_table(["guide", *(title for title, _ in COLUMNS.values())], rows)


def _preamble(trials: Sequence[Trial], data: Data, test_size: int, settings: Settings, num_samples: int) -> list[str]:
    hidden = "-".join(map(str, settings.hidden))
    seeds = ", ".join(map(str, sorted({trial.seed for trial in trials})))
    device = next(trials[0].system.model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return [
        f"# Guides compared on {data.name}",
        "",
        f"- Data: {data.description}.",
        f"- Model: VAE with a {settings.prior} prior of {settings.latent_dim} dimensions, {settings.likelihood} "
        f"likelihood and fully connected networks {hidden}; the same initial decoder, data order and budget under "
        "every guide.",
        f"- Training: {settings.epochs} epochs, batch {settings.batch_size}, Adam {settings.lr:g}, seeds {seeds}; "
        f"weights of the best validation ELBO; {where}, torch {torch.__version__}.",
        "- Figures are nats per image of the test split, by importance sampling from the guide, "
        f"{num_samples} samples each of {_part(test_size, len(data.test))} data: means over seeds, ± seeds the "
        "standard error over seeds, ± images the one over images.",
        f"- Δ: log p(x) above {trials[0].guide}, the mean over seeds of the difference at the same seed (same initial "
        "decoder and data order), ± Δ its standard error over seeds.",
        "- Where k-hat is above 0.7 (share of the images) the importance weights cannot be trusted: log p(x), and "
        "with it the gap, log p(x) - ELBO, is likely underestimated.",
    ]


def _part(size: int, whole: int) -> str:
    return str(whole) if size == whole else f"the first {size} of {whole}"


@torch.no_grad()
def _pictures(trials: Sequence[Trial], data: Data, x_test: Tensor) -> dict[str, Figure]:
    first: dict[str, Trial] = {}
    histories: dict[str, list[list[dict[str, float]]]] = {}
    for trial in trials:
        first.setdefault(trial.guide, trial)
        histories.setdefault(trial.guide, []).append(trial.history)
    pairs = {name: (trial.system.model, trial.system.guide) for name, trial in first.items()}
    figures = {"learning-curves": plots.learning_curves(histories)}
    x = x_test[:PICTURED].to(next(trials[0].system.model.parameters()).device)
    if len(data.event_shape) == 3 and data.event_shape[0] in (1, 3):
        with evaluating(*itertools.chain(*pairs.values())), torch.random.fork_rng():
            torch.manual_seed(0)
            samples = [model.decode(*model.sample_latents(PICTURED)) for model, _ in pairs.values()]
            rebuilt = [model.decode(*posterior_means(guide, x).values()) for model, guide in pairs.values()]
        figures["samples"] = plots.image_grid(samples, list(pairs))
        figures["reconstructions"] = plots.image_grid([x, *rebuilt], ["original", *pairs])
    if all(model.latent_dims == (2,) for model, _ in pairs.values()):
        figures["posteriors"] = plots.posteriors(pairs, x[:5])
    return figures
