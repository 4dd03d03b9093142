"""The page of a diagnosis: plain HTML with its pictures inside, without a script."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes import plots
from pyro_vaes.runs.atomic import unlinked

if TYPE_CHECKING:
    from pyro_vaes.reports.diagnosis import Diagnosis

Columns = dict[str, Callable[[dict[str, Any]], str]]


FLAG = "⚠"


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
.flag { color: #b00; }
.note { background: #fff4d6; padding: .5rem 1rem; }
"""


# title of a column, and what it shows of a guide's figures
COLUMNS: Columns = {
    "log p(x)": lambda row: flagged(row, error(row["log_likelihood"])),
    "ELBO": lambda row: error(row["elbo"]),
    "gap": lambda row: flagged(row, error(row["gap"])),
    "approximation gap": lambda row: flagged(row, error(row["approximation_gap"])),
    "amortization gap": lambda row: error(row["amortization_gap"]),
    "k-hat > 0.7": lambda row: share(row["unreliable"]),
}


MORE: Columns = {
    "calibrated (1 %)": lambda row: "yes" if row["calibration"]["calibrated"] else "no",
    "smallest p": lambda row: f"{row['calibration']['smallest_p']:.2g}",
    "coverage of 50 %": lambda row: share(row["calibration"]["coverage"]["50%"]),
    "of 80 %": lambda row: share(row["calibration"]["coverage"]["80%"]),
    "of 95 %": lambda row: share(row["calibration"]["coverage"]["95%"]),
    "active units": lambda row: str(row["active_units"]),
    "I(x; z)": lambda row: f"{row['mutual_information']['value']:.2f} ± {row['mutual_information']['stderr']:.2f}",
    "at most": lambda row: f"{row['mutual_information']['limit']:.2f}",
    "ms an inference": lambda row: f"{row['inference_ms']:.2f}",
    "ms a step": lambda row: "" if row["step_ms"] is None else f"{row['step_ms']:.2f}",
    "parameters": lambda row: f"{row['parameters']:,}",
}


REFERENCE: Columns = {
    "distance to NUTS": lambda row: f"{row['reference']['distance']:.3f}",
    "of an exact guide, 95 %": lambda row: f"{row['reference']['null']:.3f}",
    "R-hat": lambda row: f"{row['reference']['r_hat']:.4f}",
}


IMAGE: Columns = {
    "log p(x)": lambda row: bad(row, f"{row['log_likelihood']:.2f}"),
    "ELBO": lambda row: f"{row['elbo']:.2f}",
    "gap": lambda row: bad(row, f"{row['gap']:.2f}"),
    "approximation gap": lambda row: bad(row, f"{row['approximation_gap']:.2f}"),
    "amortization gap": lambda row: f"{row['amortization_gap']:.2f}",
    "k-hat": lambda row: "" if row["pareto_k"] is None else f"{row['pareto_k']:.2f}",
}


def error(value: dict[str, float]) -> str:
    """A mean with its standard error.

    Example:
        >>> error({"mean": -1.5, "stderr": 0.25})
        '-1.50 ± 0.25'
    """
    return f"{value['mean']:.2f} ± {value['stderr']:.2f}"


def share(value: float | None) -> str:
    """A share in per cent; nothing where it is unknown.

    Example:
        >>> share(0.125)
        '12.5 %'
    """
    return "" if value is None else f"{100 * value:.1f} %"


def flagged(row: dict[str, Any], text: str) -> str:
    """A figure that leans on importance weights, with a flag where some of them are not to be trusted."""
    return f"{text} {FLAG} {share(row['unreliable'])}" if row["unreliable"] else text


def bad(image: dict[str, Any], text: str) -> str:
    """A figure of one image, with a flag where its importance weights are not to be trusted."""
    return f"{text} {FLAG}" if image["pareto_k"] is None or image["pareto_k"] > 0.7 else text


def write_page(path: Path, report: dict[str, Any], diagnoses: Sequence[Diagnosis], x: Tensor) -> None:
    """Write the page.

    Args:
        path: the file.
        report: what the JSON says; every figure of the page is one of it.
        diagnoses: what the pictures are drawn from.
        x: the images.
    """
    parts = [*_head(report), _table(report["guides"], COLUMNS)]
    notes = {row["name"]: row["note"] for row in report["guides"] if row["note"]}
    parts += [f"<p class=note>{html.escape(name)}: {html.escape(note)}</p>" for name, note in notes.items()]
    gaps = {diagnosis.pair.name: diagnosis.gaps for diagnosis in diagnoses}
    parts += [_picture(plots.gap_bars(gaps), "approximation and amortisation gaps")]
    parts += ["<h2>Can the figures be trusted?</h2>", _TRUST, _picture(plots.pareto_histogram(gaps), "k-hat")]
    ranks = {diagnosis.pair.name: diagnosis.calibrated for diagnosis in diagnoses}
    parts += ["<h2>Calibration, information and cost</h2>", _CALIBRATION, _table(report["guides"], MORE)]
    parts += [_picture(plots.rank_histograms(ranks), "ranks")]
    if report["reference"]:
        parts += [f"<h2>Against NUTS, {report['reference']} images</h2>", _NUTS, _table(report["guides"], REFERENCE)]
    for diagnosis in diagnoses:
        if diagnosis.reference is not None:
            parts += [f"<h3>{html.escape(diagnosis.pair.name)}</h3>"]
            parts += [_picture(plots.reference_posteriors(diagnosis.reference), "posteriors of guide and NUTS")]
    for diagnosis in diagnoses:
        parts += [f"<h2>{html.escape(diagnosis.pair.name)}: the images with the largest gaps</h2>"]
        parts += [_picture(_worst(diagnosis, x), "worst images")]
        parts += [_table(diagnosis.numbers["worst"], IMAGE, name="image")]
    parts += [f"<p>Figures as data: <code>{path.with_suffix('.json').name}</code>, in the same folder.</p>"]
    body = "\n".join(parts)
    unlinked(path).write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Diagnosis</title><style>{STYLE}</style>'
        f"</head><body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


_TRUST = f"""<p>k-hat is the tail of the guide's importance weights. Above 0.7 (flagged {FLAG}, with the share of such
images) log p(x) is likely too low, and with it the gap and its part that the family loses; amortisation does not
lean on the weights.</p>"""


_CALIBRATION = """<p>Latents drawn from the prior are ranked among draws of the guide for the data they make: uniform
where the guide is the posterior. <i>Smallest p</i> is that of a dimension, corrected by Holm for their number. I(x; z)
is in nats, with the most that so many images can show.</p>"""


_NUTS = """<p>Sliced Wasserstein distance between draws of the guide and of NUTS, in standard deviations of the
posterior, and the distance that sampling alone gives an exact guide. Where R-hat is 1.01 or more the chains have not
met.</p>"""


def _head(report: dict[str, Any]) -> Iterable[str]:
    annealed = ", and annealed importance sampling" if report["annealed"] else ""
    yield "<h1>How good are these posteriors?</h1>"
    yield f"""<p>{html.escape(report["data"])}. The first {report["images"]} images of the test split; nats an image, ±
the standard error over images. log p(x): the best of importance sampling from the guide and from the optimised
posterior{annealed}, {report["num_samples"]} samples each. <i>Approximation</i> is what the guide's family cannot
reach, <i>amortisation</i> what its encoder loses: gap = log p(x) - ELBO = approximation + amortisation.
Seed {report["seed"]}.</p>"""


def _table(rows: Sequence[dict[str, Any]], columns: Columns, name: str = "name") -> str:
    titles = ("guide" if name == "name" else name, *columns)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    lines = []
    for row in rows:
        cells = (str(row[name]), *(show(row) for show in columns.values()))
        lines.append("<tr>" + "".join(f"<td>{_cell(text)}</td>" for text in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(text: str) -> str:
    before, flag, after = html.escape(text).partition(FLAG)
    return f"{before}<span class=flag>{flag}{after}</span>" if flag else before


@torch.no_grad()
def _worst(diagnosis: Diagnosis, x: Tensor) -> Figure:
    model = diagnosis.pair.model
    chosen = x[diagnosis.worst].to(next(model.parameters()).device)
    sizes = getattr(model, "latent_dims", [diagnosis.draws[0].shape[-1]])
    rebuilt = model.decode(*diagnosis.draws[0].to(chosen).split(list(sizes), -1)).mean(0)
    return plots.corrected_posteriors(chosen, rebuilt, *diagnosis.draws)


def _picture(figure: Figure, name: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
