"""The study: one table a question, and what could not be shown.

Each table is the first of the benchmark that is named with it, from its stored results; its page has the settings, the
seeds and the rest. What could not be shown is read from the same results: differences whose interval holds 0,
estimates that cannot be trusted, trainings that had not converged, and benchmarks that have not been run.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence

from benchmarks.helpers.results import FIGURES, RESULTS, Folders, Row

QUESTIONS = {
    "binarized_mnist": "Which system models static MNIST best?",
    "caltech101": "Which one models Caltech-101 Silhouettes best?",
    "omniglot28": "Which one models Omniglot best?",
    "frozen": "Which guide leaves the smallest gap under one and the same model?",
    "frozen_static": "And under the models of the three sets above?",
    "lossy": "What do an autoregressive decoder and the MAE loss leave to the code?",
    "lossy_windows": "Does the window of the decoder decide what the code holds?",
    "decoders": "What do they leave of static MNIST, at an hour a training?",
    "levels": "Which level of a hierarchy tells which factor?",
    "celeba": "And of faces?",
    "mixtures": "Do clusters find the digits?",
    "cifar10": "How many bits per dimension do colors take?",
    "precision": "What does bfloat16 cost?",
}
PICTURES = 3  # of a benchmark, at most
UNTRUSTED = 0.01  # share of the data, above which it is reported
STILL_RISING = 0.1  # nats in the last tenth of a training, above which it is reported


def run(folders: Folders) -> list[Row]:
    """One row per question, with whether its benchmark has results."""
    return [
        {"question": question, "benchmark": name, "measured": (RESULTS / name / FIGURES).exists()}
        for name, question in QUESTIONS.items()
    ]


def page(rows: Sequence[Row]) -> list[str]:
    found = {row["benchmark"]: _rows(row["benchmark"]) for row in rows if row["measured"]}
    lines = []
    for row in rows:
        if row["measured"]:
            lines += _answer(row["question"], row["benchmark"], found[row["benchmark"]])
    lines += ["## What could not be shown", ""]
    lines += [f"- {each}" for name, measured in found.items() for each in _not_shown(name, measured)]
    lines += [
        f"- {row['question']} Not measured: `python -m benchmarks {row['benchmark']} DATA WORK`."
        for row in rows
        if not row["measured"]
    ]
    return lines


def _rows(name: str) -> list[Row]:
    rows: list[Row] = json.loads((RESULTS / name / FIGURES).read_text(encoding="utf-8"))["rows"]
    return rows


def _answer(question: str, name: str, rows: Sequence[Row]) -> list[str]:
    """The first table of a benchmark, and its pictures."""
    lines = importlib.import_module(f"benchmarks.{name}").page(rows)
    table = next(line for line in lines if line.startswith("| "))
    pictures = sorted(RESULTS.glob(f"{name}/*.png"))[:PICTURES]
    shown = [line for path in pictures for line in (f"![{path.stem}](../{name}/{path.name})", "")]
    return [f"## {question}", "", f"[{name}](../{name}/README.md)", "", table, "", *shown]


def _not_shown(name: str, rows: Sequence[Row]) -> Iterator[str]:
    """What the rows of systems do not show."""
    for row in rows:
        if (above := row.get("above")) and above["low"] <= 0 <= above["high"]:
            yield (
                f"{name}: {row['system']} is not distinguishable from {row['baseline']}, "
                f"{above['mean']:+.2f} nats [{above['low']:+.2f}, {above['high']:+.2f}]."
            )
        if "system" in row and max(row["unreliable"]) > UNTRUSTED:
            yield f"{name}: {max(row['unreliable']):.1%} of the estimates of {row['system']} have k-hat above 0.7."
        if "system" in row and max(row["rise"]) > STILL_RISING:
            yield f"{name}: {row['system']} had not converged, {max(row['rise']):.2f} nats in the last tenth of it."
