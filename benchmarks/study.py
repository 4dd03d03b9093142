"""The study: one table a question, and what could not be shown.

Each table is the first of the benchmark that is named with it, from its stored results, under the differences that
these show; its page has the settings, the seeds and the rest. What could not be shown is read from the same results:
differences whose interval holds 0, estimates that cannot be trusted, trainings that had not converged, what was
published and not reached, and benchmarks that have not been run.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from types import ModuleType

from benchmarks.helpers.results import FIGURES, RESULTS, Folders, Row, read_record

QUESTIONS = {
    "binarized_mnist": "Which system models static MNIST best?",
    "caltech101": "Which one models Caltech-101 Silhouettes best?",
    "omniglot28": "Which one models Omniglot best?",
    "frozen": "Which guide leaves the smallest gap under one and the same model?",
    "frozen_static": "And under the models of the three sets above?",
    "lossy_windows": "Does the window of the decoder decide what the code holds?",
    "decoders": "And when the decoder sees all of static MNIST?",
    "levels": "Which level of a hierarchy tells which factor?",
    "celeba": "And of faces?",
    "mixtures": "Do clusters find the digits?",
    "cifar10": "How many bits per dimension do colors take?",
    "precision": "What does bfloat16 cost?",
}
SHOWN = ("*.png", "*/gaps.png")  # pictures of a benchmark, and of its reports
PICTURES = 3  # at most
MOST_ROWS = 14  # of a table, its two lines of titles included


def run(folders: Folders) -> list[Row]:
    """One row per question, with whether its benchmark has results."""
    return [
        {"question": question, "benchmark": name, "measured": (RESULTS / name / FIGURES).exists()}
        for name, question in QUESTIONS.items()
    ]


def page(rows: Sequence[Row]) -> list[str]:
    answers, not_shown, minutes = [], [], 0.0
    for row in rows:
        name, question = row["benchmark"], row["question"]
        if row["measured"]:
            module, measured = importlib.import_module(f"benchmarks.{name}"), read_record(name)["rows"]
            minutes += sum(map(_minutes, measured))
            told = [f"- {each}" for each in _sentences(module, "answer", measured)]
            answers += [f"## {question}", "", f"[{name}](../{name}/README.md)", "", *told, *([""] if told else [])]
            answers += _figures(name, module.page(measured))
            not_shown += [f"- {name}: {each}" for each in _sentences(module, "not_shown", measured)]
        else:
            not_shown.append(f"- {question} Not measured: `python -m benchmarks {name} DATA WORK`.")
    budget = f"The trainings of which results state the time took {minutes / 60:.1f} hours of one thread."
    return [budget, "", *answers, "## What could not be shown", "", *not_shown]


def _minutes(row: Row) -> float:
    """Time of the trainings of a row, those of all seeds."""
    if "train_seconds" in row:
        return row["train_seconds"] * row["seeds"] / 60
    minutes = row.get("minutes", 0.0)
    return sum(minutes) if isinstance(minutes, list) else minutes


def _sentences(module: ModuleType, name: str, rows: Sequence[Row]) -> list[str]:
    """What a function of a benchmark says of its rows, if it has one of this name."""
    return getattr(module, name)(rows) if hasattr(module, name) else []


def _figures(name: str, lines: Sequence[str]) -> list[str]:
    """The first table of a benchmark's page with what stands above it, and its pictures."""
    place = next(number for number, line in enumerate(lines) if line.startswith("| "))
    above = [re.sub(r"\]\((?!http)", f"](../{name}/", line.lstrip("# ")) for line in lines[:place]]
    table = lines[place].splitlines()
    more = len(table) - MOST_ROWS
    rest = [f"{more} more rows on its page.", ""] if more > 0 else []
    found = (path.relative_to(RESULTS) for pattern in SHOWN for path in sorted(RESULTS.glob(f"{name}/{pattern}")))
    shown = [line for path in [*found][:PICTURES] for line in (f"![{path.stem}, {path.parent.name}](../{path})", "")]
    return [*above, *table[:MOST_ROWS], "", *rest, *shown]
