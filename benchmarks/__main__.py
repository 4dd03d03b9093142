"""Run every benchmark, print its table, and save it under ``benchmarks/results``: ``python -m benchmarks [NAMES]``."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from typing import Any

import pyro
import torch

from benchmarks import growth, inference, laplace, likelihood, profiles, pythae_rival, step
from benchmarks.timing import RESULTS

RATIOS = {"step": step, "pythae": pythae_rival, "laplace": laplace, "likelihood": likelihood, "inference": inference}


def main() -> None:
    """Run those that are named, or all."""
    names = sys.argv[1:] or [*RATIOS, "growth", "profiles"]
    where = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    for name in names:
        found, table = _ratios(name) if name in RATIOS else {"growth": _growth, "profiles": _profiles}[name]()
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps({"where": where, **found}, indent=2) + "\n")
        table = f"{table}\n`python -m benchmarks {name}`: {', '.join(f'{k} {v}' for k, v in where.items())}.\n"
        (RESULTS / f"{name}.md").write_text(table)
        print(table)


def _ratios(name: str) -> tuple[dict[str, Any], str]:
    rows = [ratio_row(case, seconds) for case, seconds in RATIOS[name].run()]
    return {"rows": rows}, ratio_table(RATIOS[name].__doc__ or "", rows)


def ratio_row(case: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Ours is the first rival; ratios are our time in another's, the median over turns, with its quartiles."""
    ours, *others = seconds
    ratios: dict[str, dict[str, Any]] = {}
    for name in others:
        turns = [mine / theirs for theirs, mine in zip(seconds[name], seconds[ours], strict=True)]
        low, middle, high = statistics.quantiles(turns, n=4)
        ratios[name] = {"median": middle, "quartiles": [low, high], "turns": len(turns)}
    milliseconds = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    return {"case": case, "ms": milliseconds, "ratio": ratios}


def ratio_table(description: str, rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, below a description whose first line is the title."""
    lines = [*_head(description), "| case | ours | rival | ours, ms | rival, ms | ours / rival (quartiles) |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: |")
    for row in rows:
        ours = next(iter(row["ms"]))
        for name, ratio in row["ratio"].items():
            low, high = ratio["quartiles"]
            lines.append(
                f"| {row['case']} | {ours} | {name} | {row['ms'][ours]:.1f} | {row['ms'][name]:.1f} | "
                f"{ratio['median']:.3g} ({low:.3g} to {high:.3g}, {ratio['turns']} turns) |"
            )
    return "\n".join([*lines, ""])


def _growth() -> tuple[dict[str, Any], str]:
    rows = list(growth.run())
    lines = [*_head(growth.__doc__ or ""), "| grows | case | ms a step | peak memory, MiB |"]
    lines.append("| --- | --- | ---: | ---: |")
    for growing, case, ms, mib in rows:
        lines.append(f"| {growing} | {', '.join(f'{k} {v}' for k, v in case.items())} | {ms:.1f} | {mib:.0f} |")
    names = ("grows", "case", "ms", "mib")
    return {"rows": [dict(zip(names, row, strict=True)) for row in rows]}, "\n".join([*lines, ""])


def _profiles() -> tuple[dict[str, Any], str]:
    rows = {kind.__name__: shares for kind, shares in profiles.run()}
    lines = [*_head(profiles.__doc__ or ""), "| guide | shares of the time |", "| --- | --- |"]
    for name, shares in rows.items():
        lines.append(f"| {name} | {', '.join(f'{key} {share:.0%}' for key, share in shares.items())} |")
    return {"rows": rows}, "\n".join([*lines, ""])


def _head(description: str) -> list[str]:
    """The first line of a description as the title, the rest as text."""
    title, _, text = description.strip().partition("\n")
    return [f"# {title.removesuffix('.')}", "", *([text.strip(), ""] if text.strip() else [])]


if __name__ == "__main__":
    main()
