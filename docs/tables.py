"""The tables of the site and the README, from the committed results and ``published.yaml``; nothing in them is typed.

``python docs/tables.py`` writes the README's.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pyro_vaes.recipes import RECIPES, Recipe, Settings
from pyro_vaes.reports.tables import markdown_table

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
RESULTS = DOCS.parent / "benchmarks" / "results"
START, END = "<!-- results: written by docs/tables.py -->", "<!-- end of results -->"

#: Rows of the comparison of guides that a page shows.
SHOWN = {
    "laplace_guides": ["mean-field", "full-covariance", "semi-amortized", "laplace"],
    "mixture_guides": ["mean-field", "semi-amortized", "mixture", "boosted-mixture", "recursive-mixture"],
}

#: Settings that are not of a system: where its data are, and how and where it runs.
NOT_OF_A_SYSTEM = {"data", "data_root", "channels", "train_size", "seed", "device", "step", "precision"}


def generated() -> dict[str, str]:
    """Every table of the site by its name, in Markdown."""
    published = yaml.safe_load((DOCS / "published.yaml").read_text(encoding="utf-8"))
    return {
        **{system: beside(**paper) for system, paper in published.items()},
        **{name: guides(rows) for name, rows in SHOWN.items()},
        "guides": guides(),
        "commands": commands(),
        "fidelity": fidelity(),
    }


def beside(source: str, figure: str, rows: Sequence[dict[str, Any]]) -> str:
    """The figures that a paper reports beside those measured here."""
    cells = [
        [row["data"], row["method"], row["published"], measured(*row["measured"]) if "measured" in row else "not run"]
        for row in rows
    ]
    table = markdown_table(["data", "method", "published", "measured here"], cells)
    return f"{table}\n\nBoth: {figure}. Published: {source}."


def measured(file: str, name: str, figure: str, *spread: str) -> str:
    """A figure of a result file with its spread, and a link to the page that says how it was measured."""
    path = RESULTS / file
    page = next(page for page in ("report.md", "README.md") if (path.parent / page).exists())
    text = _with_spread(_rows(path, name), figure, spread)
    return f"{text}, [{name}](../../{path.parent.relative_to(DOCS.parent)}/{page})"


def _with_spread(rows: Sequence[dict[str, Any]], figure: str, spread: Sequence[str]) -> str:
    """A figure with its error, with the ends of its interval, or with its standard deviation over seeds."""
    if not spread:
        return _over_seeds(rows, figure)
    value, *errors = (f"{float(rows[0][column]):.2f}" for column in (figure, *spread))
    return f"{value} ± {errors[0]}" if len(errors) == 1 else f"{value} [{', '.join(errors)}]"


def _rows(path: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a result file that have the name in the first column."""
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text)["rows"] if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    return [row for row in rows if next(iter(row.values())) == name]


def _over_seeds(rows: Sequence[dict[str, Any]], figure: str) -> str:
    """Mean and standard deviation over seeds of a share, or of a score of a model's only clusters."""
    values = [100 * (row["clusters"][0] if "clusters" in row else row)[figure] for row in rows]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} %"


def guides(rows: Sequence[str] | None = None, complete: bool = False) -> str:
    """The comparison of guides: all rows or those of some guides, and of these the complete ones."""
    page = (RESULTS / "guides" / "README.md").read_text(encoding="utf-8")
    header, rule, *body = [line for line in page.splitlines() if line.startswith("|")]
    shown = [line for line in body if rows is None or line.split("|")[1].strip().partition("(")[0] in rows]
    return "\n".join([header, rule, *(line for line in shown if not (complete and "|  |" in line))])


def commands() -> str:
    """The command line's own help, a definition a command."""
    from pyro_vaes.cli.app import app

    sections = app.generate_docs().split("\n## pyro-vaes ")[1:]
    return "\n".join(f"**{name}**\n{text}" for name, text in (section.split("\n", 1) for section in sections))


def fidelity() -> str:
    """Every recipe beside its source: a table each, with a row per settings, whose third column the recipe gives."""
    sources = yaml.safe_load((DOCS / "fidelity.yaml").read_text(encoding="utf-8"))
    return "\n\n".join(_beside_source(RECIPES[name], **paper) for name, paper in sources.items())


def _beside_source(recipe: Recipe[Any, Any], source: str, rows: Sequence[dict[str, str]]) -> str:
    settings = variants(recipe)
    cells = [[row["settings"], row["published"], described(settings[row["settings"]]), row["why"]] for row in rows]
    return f"**{recipe.name}**: {source}\n\n{markdown_table(['settings', 'published', 'here', 'why'], cells)}"


def variants(recipe: Recipe[Any, Any]) -> dict[str, Settings]:
    """The settings of a recipe: published ones by the data sets that they are for, and the small ones."""
    data_sets: dict[Settings, list[str]] = {}
    for data, settings in recipe.published.items():
        data_sets.setdefault(settings, []).append(data)
    return {", ".join(names): settings for settings, names in data_sets.items()} | {"small": recipe.small}


def described(settings: Settings) -> str:
    """The settings of a system in one line, without those that are off."""
    config = settings.config().items()
    return "; ".join(f"{name} {value}" for name, value in config if value and name not in NOT_OF_A_SYSTEM)


def readme() -> str:
    """The README with its table as the results have it."""
    text = README.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n\n{guides(complete=True)}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
