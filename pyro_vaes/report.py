"""The report on a comparison: tables and pictures."""

from __future__ import annotations

import contextlib
import csv
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure

from pyro_vaes import plots
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import posterior_mean, ppca
from pyro_vaes.recipes import Settings

if TYPE_CHECKING:
    from pyro_vaes.compare import Trial

# column of the CSV: its title in the Markdown table and the form of its numbers
COLUMNS = {
    "elbo": ("ELBO", ".2f"),
    "log_likelihood": ("log p(x)", ".2f"),
    "log_likelihood_stderr_seeds": ("± seeds", ".2f"),
    "log_likelihood_stderr": ("± images", ".2f"),
    "gap": ("gap", ".2f"),
    "unreliable": ("k-hat > 0.7", ".1%"),
    "active_units": ("active units", ".1f"),
    "step_ms": ("ms a step", ".2f"),
    "inference_ms": ("ms an inference", ".2f"),
    "parameters": ("parameters", ",.0f"),
}
PICTURED = 10  # images a row


def write_report(trials: Sequence[Trial], data: Data, settings: Settings, out: Path, num_samples: int) -> None:
    """Write ``report.md``, ``report.csv`` (a row a guide), ``trials.csv`` (a row a trial) and pictures.

    Args:
        trials: what to report on.
        data: what they were trained and tested on.
        settings: their model and budget.
        out: the folder.
        num_samples: importance samples an image.
    """
    rows = [trial.row for trial in trials]
    summary = _summary(rows)
    if trials[0].system.model.likelihood.quadratic:
        with contextlib.suppress(InputError):  # it has no closed form with so many factors
            exact = ppca(data.train.x, data.test.x, settings.latent_dim)
            figures = {"log_likelihood": exact.mean, "log_likelihood_stderr": exact.stderr}
            summary.append({"guide": "pPCA (exact)", **figures})
    _write_csv(out / "trials.csv", rows)
    _write_csv(out / "report.csv", summary)
    pictures = _pictures(trials, data)
    for name, figure in pictures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    lines = [*_preamble(trials, data, settings, num_samples), "", *_table(summary), ""]
    lines += [f"![{name}]({name}.png)\n" for name in pictures]
    lines += ["Run again: `pyro-vaes compare --config config.yaml --out FOLDER`\n"]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a guide: means over the seeds, and the standard error of log p(x) over seeds and over images."""
    by_guide: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_guide.setdefault(row["guide"], []).append(row)
    summary = []
    for guide, group in by_guide.items():
        means = {column: statistics.mean(row[column] for row in group) for column in COLUMNS if column in group[0]}
        if len(group) > 1:
            spread = statistics.stdev(row["log_likelihood"] for row in group)
            means["log_likelihood_stderr_seeds"] = spread / math.sqrt(len(group))
        summary.append({"guide": guide, "seeds": len(group), **means})
    return summary


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _table(summary: Sequence[dict[str, Any]]) -> list[str]:
    titles = [title for title, _ in COLUMNS.values()]
    lines = ["| guide | " + " | ".join(titles) + " |", "| --- " + "| ---: " * len(titles) + "|"]
    for row in summary:
        cells = [format(row[column], form) if column in row else "" for column, (_, form) in COLUMNS.items()]
        lines.append(f"| {row['guide']} | " + " | ".join(cells) + " |")
    return lines


def _preamble(trials: Sequence[Trial], data: Data, settings: Settings, num_samples: int) -> list[str]:
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
        "- Figures are nats an image of the test split, by importance sampling from the guide, "
        f"{num_samples} samples each of {len(data.test)} data: means over seeds, ± seeds the standard error "
        "over seeds, ± images the one over images.",
        "- Where k-hat is above 0.7 (share of the images) the importance weights cannot be trusted: log p(x), and "
        "with it the gap, log p(x) - ELBO, is likely underestimated.",
    ]


@torch.no_grad()
def _pictures(trials: Sequence[Trial], data: Data) -> dict[str, Figure]:
    first: dict[str, Trial] = {}
    histories: dict[str, list[list[dict[str, float]]]] = {}
    for trial in trials:
        first.setdefault(trial.guide, trial)
        histories.setdefault(trial.guide, []).append(trial.history)
    pairs = {name: (trial.system.model, trial.system.guide) for name, trial in first.items()}
    figures = {"learning-curves": plots.learning_curves(histories)}
    x = data.test.x[:PICTURED].to(next(trials[0].system.model.parameters()).device)
    if len(data.event_shape) == 3 and data.event_shape[0] in (1, 3):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            samples = [model.decode(model.prior().sample((PICTURED,))) for model, _ in pairs.values()]
            rebuilt = [model.decode(posterior_mean(guide, x)) for model, guide in pairs.values()]
        figures["samples"] = plots.image_grid(samples, list(pairs))
        figures["reconstructions"] = plots.image_grid([x, *rebuilt], ["original", *pairs])
    if trials[0].system.model.latent_dim == 2:
        figures["posteriors"] = plots.posteriors(pairs, x[:5])
    return figures
