"""The report on a comparison: tables and pictures."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import ppca
from pyro_vaes.evaluate.differences import describe_difference
from pyro_vaes.reports.cells import Columns, flagged, number, share
from pyro_vaes.reports.compare_pictures import CAPTIONS, pictures
from pyro_vaes.reports.compare_preamble import advice, preamble
from pyro_vaes.reports.compare_summary import Comparison, interval, summarize
from pyro_vaes.reports.tables import markdown_table, write_csv


def columns(frozen: bool) -> Columns:
    """The columns of the table; the log p(x) of a frozen model stands above it.

    Example:
        >>> list(columns(frozen=False))[:6]
        ['guide', 'log p(x)', 'ELBO', 'gap', 'approximation gap', 'amortization gap']
    """
    return GUIDE | (GAPS | CALIBRATION if frozen else LOG_P | GAPS) | COST


def write_report(comparison: Comparison, out: Path) -> None:
    """Write ``report.md``, ``report.csv`` (one row per guide), ``trials.csv`` (one row per trial) and pictures."""
    summary = summarize(comparison)
    if not comparison.frozen:
        summary += _baseline(comparison)
    write_csv(out / "trials.csv", [trial.row for trial in comparison.trials])
    write_csv(out / "report.csv", summary)
    figures = pictures(comparison)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
    shown = columns(bool(comparison.frozen))
    table = markdown_table(list(shown), [[show(row) for show in shown.values()] for row in summary])
    lines = [*preamble(comparison), "", table, ""]
    if sentences := advice(comparison):
        lines += [" ".join(sentences), ""]
    lines += [f"![{name}]({name}.png)\\\n*{CAPTIONS[name]}*\n" for name in figures]
    lines += ["Run again: `pyro-vaes compare --config config.yaml --out FOLDER`\n"]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _baseline(comparison: Comparison) -> list[dict[str, Any]]:
    """The row of probabilistic PCA, where it is a model of these data."""
    model, measured = comparison.trials[0].system.model, comparison.trials[0].measured
    if model.likelihood.quadratic and not comparison.data.has_missing:
        with contextlib.suppress(InputError):  # it has no closed form with so many factors
            x = comparison.data.test.x[evenly_spaced(len(comparison.data.test), len(measured.gap))]
            exact = ppca(comparison.data.train.x, x, sum(model.latent_dims))
            return [{"guide": "pPCA (exact)", **interval("log_likelihood", exact.per_datum.unsqueeze(0))}]
    return []


def _gap(row: dict[str, Any]) -> str:
    return f"{row['gap']:.2f} [{row['gap_low']:.2f}, {row['gap_high']:.2f}]" if "gap" in row else ""


def _difference(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return ""
    return describe_difference(row["difference"], row["difference_low"], row["difference_high"])


GUIDE: Columns = {"guide": lambda row: row["guide"]}
LOG_P: Columns = {"log p(x)": lambda row: flagged(f"{row['log_likelihood']:.2f}", row.get("unreliable"))}
GAPS: Columns = {
    "ELBO": lambda row: number(row.get("elbo"), ".2f"),
    "gap": _gap,
    "approximation gap": lambda row: number(row.get("approximation_gap"), ".2f"),
    "amortization gap": lambda row: number(row.get("amortization_gap"), ".2f"),
    "guide's k-hat > 0.7": lambda row: share(row.get("guide_unreliable")),
    "Δ": _difference,
    "df": lambda row: number(row.get("degrees_of_freedom"), ".1f"),
    "rank": lambda row: row.get("rank", ""),
}
CALIBRATION: Columns = {
    "calibrated (1 %)": lambda row: {True: "yes", False: "no"}.get(row.get("calibrated", ""), ""),
    "smallest p": lambda row: number(row.get("smallest_p"), ".2g"),
}
COST: Columns = {
    "overfitting": lambda row: number(row.get("overfitting"), ".2f"),
    "active units": lambda row: number(row.get("active_units"), ".1f"),
    "training, s": lambda row: number(row.get("train_seconds"), ".1f"),
    "ms per step": lambda row: number(row.get("step_ms"), ".2f"),
    "ms per inference": lambda row: number(row.get("inference_ms"), ".2f"),
    "parameters": lambda row: number(row.get("parameters"), ",.0f"),
}
