"""The tables and figures of the site and the README, from the committed results; none of them is typed.

A page names them, ``{{ laplace }}``. The README has them between ``<!-- results -->`` and ``<!-- end -->``, which
``python docs/tables.py`` fills. ``published.yaml`` says which figures of papers stand beside which results, and
``quoted.yaml`` which results stand in sentences.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pyro_vaes.evaluate.differences import describe_difference
from pyro_vaes.recipes import RECIPES, Recipe, Settings
from pyro_vaes.reports.tables import markdown_table

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
RESULTS = DOCS.parent / "benchmarks" / "results"

#: Rows of the comparison of guides that a page shows.
SHOWN = {
    "laplace_guides": ["mean-field", "full-covariance", "semi-amortized", "laplace"],
    "mixture_guides": ["mean-field", "semi-amortized", "mixture", "boosted-mixture", "recursive-mixture"],
}

#: Columns of a difference from mean-field and the ends of its interval.
DIFFERENCE = ("difference", "difference_low", "difference_high")

#: Settings that are not of a system: where its data are, and how and where it runs.
NOT_OF_A_SYSTEM = {"data", "data_root", "channels", "train_size", "seed", "device", "step", "precision"}


def generated() -> dict[str, str]:
    """Every table and figure of the site by its name, in Markdown."""
    return {
        **{system: beside(**paper) for system, paper in _read("published.yaml").items()},
        **{name: guides(rows) for name, rows in SHOWN.items()},
        **quoted(),
        "guides": guides(),
        "results": results(),
        "recipes": recipes(),
        "commands": commands(),
        "fidelity": fidelity(),
    }


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DOCS / name).read_text(encoding="utf-8"))


def quoted() -> dict[str, str]:
    """The figures of results that sentences quote, with their intervals, by name."""
    return {
        name: _with_spread(_rows(RESULTS / file, row), figure, spread)
        for name, (file, row, figure, *spread) in _read("quoted.yaml").items()
    }


def results() -> str:
    """Each guide's gap on one frozen model of binarized MNIST, and log p(x) of the model trained together with it."""
    frozen, trained = (_by_guide(RESULTS / name / "mnist-bernoulli" / "report.csv") for name in ("frozen", "guides"))
    cells = []
    for guide, row in frozen.items():
        gap, low, high = (float(row[name]) for name in ("gap", "gap_low", "gap_high"))
        joint = trained.get(guide, {})
        ends = [float(joint[name]) for name in DIFFERENCE if joint.get(name)]
        cells.append([f"`{guide}`", f"{gap:.2f} [{low:.2f}, {high:.2f}]", describe_difference(*ends) if ends else "–"])
    return markdown_table(["guide", "gap on one frozen model", "log p(x) of a model trained with it"], cells)


def _by_guide(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["guide"]: row for row in csv.DictReader(file)}


def recipes() -> str:
    """Every recipe, as Python and the command line name it, and its paper."""
    return markdown_table(
        ["Python", "command line", "system"],
        [[f"`{name.replace('-', '_')}`", f"`{name}`", recipe.paper] for name, recipe in RECIPES.items()],
    )


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
    value, *errors = (f"{number:.2f}" for column in (figure, *spread) for number in _numbers(rows[0], column))
    return f"{value} ± {errors[0]}" if len(errors) == 1 else f"{value} [{', '.join(errors)}]"


def _numbers(row: dict[str, Any], column: str) -> list[float]:
    """The number of a row, or the two ends of an interval, where ``a/b`` is entry b of entry a."""
    value: Any = row
    for key in column.split("/"):
        value = value[key]
    return [float(each) for each in (value if isinstance(value, list) else [value])]


def _rows(path: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a result file that have the name in the first column."""
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text)["rows"] if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    return [row for row in rows if next(iter(row.values())) == name]


def _over_seeds(rows: Sequence[dict[str, Any]], figure: str) -> str:
    """Mean and standard deviation over seeds of a share, or of a score of a model's only clusters."""
    values = [100 * (row["clusters"][0] if "clusters" in row else row)[figure] for row in rows]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} %"


def guides(rows: Sequence[str] | None = None) -> str:
    """The comparison of guides: all rows, or those of some guides."""
    page = (RESULTS / "guides" / "README.md").read_text(encoding="utf-8")
    header, rule, *body = [line for line in page.splitlines() if line.startswith("|")]
    shown = [line for line in body if rows is None or line.split("|")[1].strip().partition("(")[0] in rows]
    return "\n".join([header, rule, *shown])


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
    """The README with its table and its figures as the results have them."""
    texts = quoted() | {"results": f"\n{results()}\n"}
    named = rf"(<!-- ({'|'.join(texts)}) -->).*?(<!-- end -->)"
    text = README.read_text(encoding="utf-8")
    return re.sub(named, lambda found: f"{found[1]}{texts[found[2]]}{found[3]}", text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
