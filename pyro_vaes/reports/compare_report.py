"""The report on a comparison: tables and pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import MeanInterval, ppca
from pyro_vaes.reports.cells import Columns, flagged, number, share
from pyro_vaes.reports.compare_pictures import pictures
from pyro_vaes.reports.compare_summary import interval, summarize
from pyro_vaes.reports.diagnosis import Diagnosis
from pyro_vaes.reports.measurement import part
from pyro_vaes.reports.tables import markdown_table, write_csv
from pyro_vaes.reports.trial import Trial
from pyro_vaes.settings import Settings

COLUMNS: Columns = {
    "guide": lambda row: row["guide"],
    "log p(x)": lambda row: flagged(number(row["log_likelihood"], ".2f"), row.get("unreliable")),
    "ELBO": lambda row: number(row.get("elbo"), ".2f"),
    "gap": lambda row: number(row.get("gap"), ".2f"),
    "approximation gap": lambda row: number(row.get("approximation_gap"), ".2f"),
    "amortization gap": lambda row: number(row.get("amortization_gap"), ".2f"),
    "guide's k-hat > 0.7": lambda row: share(row.get("guide_unreliable")),
    "Δ [95 %]": lambda row: _difference(row),
    "df": lambda row: number(row.get("degrees_of_freedom"), ".1f"),
    "rank": lambda row: row.get("rank", ""),
    "active units": lambda row: number(row.get("active_units"), ".1f"),
    "ms per step": lambda row: number(row.get("step_ms"), ".2f"),
    "training, s": lambda row: number(row.get("train_seconds"), ".1f"),
    "ms per inference": lambda row: number(row.get("inference_ms"), ".2f"),
    "parameters": lambda row: number(row.get("parameters"), ",.0f"),
}


def write_report(
    trials: Sequence[Trial],
    diagnoses: Sequence[Diagnosis],
    data: Data,
    x_test: Tensor,
    settings: Settings,
    out: Path,
) -> None:
    """Write ``report.md``, ``report.csv`` (one row per guide), ``trials.csv`` (one row per trial) and pictures.

    Args:
        trials: what to report on.
        diagnoses: diagnoses of the guides, or none.
        data: what they were trained on.
        x_test: what they were tested on.
        settings: their model and training.
        out: the folder.
    """
    summary = summarize(trials, diagnoses)
    if trials[0].system.model.likelihood.quadratic:
        with contextlib.suppress(InputError):  # it has no closed form with so many factors
            exact = ppca(data.train.x, x_test, sum(trials[0].system.model.latent_dims))
            summary.append({"guide": "pPCA (exact)", **interval("log_likelihood", exact.per_datum.unsqueeze(0))})
    write_csv(out / "trials.csv", [trial.row for trial in trials])
    write_csv(out / "report.csv", summary)
    figures = pictures(trials, data, x_test)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    table = markdown_table(list(COLUMNS), [[show(row) for show in COLUMNS.values()] for row in summary])
    lines = [*_preamble(trials, diagnoses, data, settings), "", table, ""]
    lines += [f"![{name}]({name}.png)\n" for name in figures]
    lines += ["Run again: `pyro-vaes compare --config config.yaml --out FOLDER`\n"]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _difference(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return ""
    ends = row["difference"], row["difference_low"], row["difference_high"]
    return MeanInterval(*ends, row["degrees_of_freedom"], row["seeds"]).describe()


def _preamble(trials: Sequence[Trial], diagnoses: Sequence[Diagnosis], data: Data, settings: Settings) -> list[str]:
    hidden = "-".join(map(str, settings.hidden))
    seeds = sorted({trial.seed for trial in trials})
    device = next(trials[0].system.model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    marginal, bounds = trials[0].measured.marginal, trials[0].measured.bounds
    lines = [
        f"# Guides compared on {data.name}",
        "",
        f"- Data: {data.description}.",
        f"- Model: VAE with a {settings.prior} prior of {settings.latent_dim} dimensions, {settings.likelihood} "
        f"likelihood and fully connected networks {hidden}; the same initial decoder and data order under every guide.",
        f"- Training: {_training(settings)}, seeds "
        f"{', '.join(map(str, seeds))}; weights of the best validation ELBO; {where}, torch {torch.__version__}.",
        f"- Nats per image of the test split, means over seeds and {part(len(marginal.per_datum), len(data.test))} "
        "images.",
        f"- log p(x): that of the model, by adaptive importance sampling, {marginal.num_samples} samples per image and "
        "round, whatever the guide; flagged with the share of images for which it cannot be trusted.",
        f"- ELBO of the guide, {bounds.num_samples} samples per image; gap: log p(x) - ELBO = KL(q ‖ p). Where the "
        "k-hat of the guide's own weights is above 0.7, it misses mass of the posterior.",
    ]
    if diagnoses:
        lines.append(
            f"- Approximation gap, what the guide's family cannot reach, and amortization gap, what its encoder loses: "
            f"of seed {seeds[0]} on the first {len(diagnoses[0].gaps.gap)} images alone."
        )
    if len({trial.guide for trial in trials}) > 1:
        covered = "as for new seeds and new images" if len(seeds) > 1 else "over images alone, seeds are not covered"
        lines.append(
            f"- Δ: log p(x) above {trials[0].guide}, paired over seeds and images, with its 95 % interval, {covered}, "
            "and Satterthwaite's degrees of freedom (df); rank: of log p(x), a range where differences are not "
            "distinguishable."
        )
    return lines


def _training(settings: Settings) -> str:
    """Length, optimizer and schedule of the training.

    Example:
        >>> _training(Settings(epochs=50, patience=5, schedule="cosine", clip_norm=5.0))
        '50 epochs at most, patience 5, batch 128, adam 0.001, cosine, gradients clipped at 5'
    """
    end = "" if settings.patience is None else f" at most, patience {settings.patience}"
    schedule = "" if settings.schedule is None else f", {settings.schedule}"
    clipping = "" if settings.clip_norm is None else f", gradients clipped at {settings.clip_norm:g}"
    return (
        f"{settings.epochs} epochs{end}, batch {settings.batch_size}, {settings.optimizer} {settings.lr:g}"
        f"{schedule}{clipping}"
    )
