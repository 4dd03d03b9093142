"""The page of a diagnosis: plain HTML with its pictures inside, without a script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes import plots
from pyro_vaes.evaluate.psis import HIGHEST_K
from pyro_vaes.plots.traversals import AsPixels
from pyro_vaes.reports.cells import FLAG, Columns, error, flagged, number, share
from pyro_vaes.reports.diagnosis import Diagnosis
from pyro_vaes.runs.atomic import write_whole

GUIDE: Columns = {"guide": lambda row: row["name"]}

COLUMNS: Columns = {
    "log p(x)": lambda row: flagged(error(row["log_likelihood"]), row["unreliable"]),
    "ELBO": lambda row: error(row["elbo"]),
    "gap": lambda row: flagged(error(row["gap"]), row["unreliable"]),
    "approximation gap": lambda row: flagged(error(row["approximation_gap"]), row["unreliable"]),
    "amortization gap": lambda row: error(row["amortization_gap"]),
    "guide's k-hat > 0.7": lambda row: share(row["guide_unreliable"]),
}

MORE: Columns = {
    "calibrated (1 %)": lambda row: {True: "yes", False: "no"}.get(row["calibration"]["calibrated"], ""),
    "smallest p": lambda row: number(row["calibration"]["smallest_p"], ".2g"),
    "coverage of 50 %": lambda row: share(row["calibration"]["coverage"]["50%"]),
    "of 80 %": lambda row: share(row["calibration"]["coverage"]["80%"]),
    "of 95 %": lambda row: share(row["calibration"]["coverage"]["95%"]),
    "active units": lambda row: str(row["active_units"]),
    "I(x; z)": lambda row: f"{row['mutual_information']['value']:.2f} ± {row['mutual_information']['stderr']:.2f}",
    "at most": lambda row: f"{row['mutual_information']['limit']:.2f}",
    "ms per inference": lambda row: f"{row['inference_ms']:.2f}",
    "ms per step": lambda row: number(row["step_ms"], ".2f"),
    "parameters": lambda row: f"{row['parameters']:,}",
}

REFERENCE: Columns = {
    "distance to NUTS": lambda row: number(row["reference"]["distance"], ".3f"),
    "of an exact guide, 95 %": lambda row: number(row["reference"]["null"], ".3f"),
    "R-hat": lambda row: number(row["reference"]["r_hat"], ".4f"),
}

IMAGE: Columns = {
    "log p(x)": lambda row: bad(row, f"{row['log_likelihood']:.2f}"),
    "ELBO": lambda row: f"{row['elbo']:.2f}",
    "gap": lambda row: bad(row, f"{row['gap']:.2f}"),
    "approximation gap": lambda row: bad(row, f"{row['approximation_gap']:.2f}"),
    "amortization gap": lambda row: f"{row['amortization_gap']:.2f}",
    "guide's k-hat": lambda row: number(row["guide_pareto_k"], ".2f"),
}


def bad(image: dict[str, Any], text: str) -> str:
    """A figure of one image that depends on its log p(x), with a flag where that cannot be trusted."""
    return f"{text} {FLAG}" if image["pareto_k"] is None or image["pareto_k"] > HIGHEST_K else text


def write_page(
    path: Path, report: dict[str, Any], diagnoses: Sequence[Diagnosis], x: Tensor, as_pixels: AsPixels
) -> None:
    """Write the page.

    Args:
        path: the file.
        report: the content of the JSON; every figure of the page is one of it.
        diagnoses: what the pictures are drawn from.
        x: the images.
        as_pixels: map from x to pixels, for pictures.
    """
    gaps = {diagnosis.pair.name: diagnosis.gaps for diagnosis in diagnoses}
    ranks = {each.pair.name: each.calibrated for each in diagnoses if each.calibrated is not None}
    covariances = {diagnosis.pair.name: diagnosis.covariances for diagnosis in diagnoses}
    shown = as_pixels(x[: len(diagnoses[0].covariances)])
    rows = report["guides"]
    templates = Environment(
        loader=PackageLoader("pyro_vaes.reports"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    page = templates.get_template("diagnosis.html").render(
        report=report,
        flag=FLAG,
        gaps=_table(rows, GUIDE | COLUMNS),
        calibration=_table(rows, GUIDE | MORE),
        reference=_table(rows, GUIDE | REFERENCE) if report["reference"] else None,
        pictures={
            "gaps": _picture(plots.gap_bars(gaps)),
            "pareto": _picture(plots.pareto_histogram(gaps)),
            "ranks": _picture(plots.rank_histograms(ranks)) if ranks else None,
            "covariances": _picture(plots.posterior_covariances(shown, covariances)),
        },
        guides=[_guide(diagnosis, x, as_pixels) for diagnosis in diagnoses],
        figures=path.with_suffix(".json").name,
    )
    write_whole(path, page.encode())


def _table(rows: Sequence[dict[str, Any]], columns: Columns) -> dict[str, Any]:
    return {"header": list(columns), "rows": [[show(row) for show in columns.values()] for row in rows]}


def _guide(diagnosis: Diagnosis, x: Tensor, as_pixels: AsPixels) -> dict[str, Any]:
    """The pictures and the table of one guide."""
    compared = diagnosis.reference
    return {
        "name": diagnosis.pair.name,
        "reference": None if compared is None else _picture(plots.reference_posteriors(compared)),
        "worst": _picture(_worst(diagnosis, x, as_pixels)),
        "images": _table(diagnosis.numbers["worst"], {"image": lambda row: str(row["image"])} | IMAGE),
    }


def _worst(diagnosis: Diagnosis, x: Tensor, as_pixels: AsPixels) -> Figure:
    rebuilt = diagnosis.rebuilt
    chosen = x[diagnosis.worst].to(rebuilt.device)
    return plots.corrected_posteriors(as_pixels(chosen), as_pixels(rebuilt), *diagnosis.draws)


def _picture(figure: Figure) -> str:
    """A figure as the source of an image, inside the page."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
