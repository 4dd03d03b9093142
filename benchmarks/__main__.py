"""Run every benchmark, print its table, and save it under ``benchmarks/results``: ``python -m benchmarks``."""

from __future__ import annotations

import json
import platform
import statistics
from typing import Any

import pyro
import torch

from benchmarks import inference, laplace
from benchmarks.timing import RESULTS


def main() -> None:
    """Run them all."""
    where = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    RESULTS.mkdir(exist_ok=True)
    for benchmark in (inference, laplace):
        rows = [_row(case, seconds) for case, seconds in benchmark.run()]
        name = benchmark.__name__.rpartition(".")[2]
        (RESULTS / f"{name}.json").write_text(json.dumps({"where": where, "rows": rows}, indent=2) + "\n")
        table = _table(benchmark.__doc__ or "", rows)
        (RESULTS / f"{name}.md").write_text(f"{table}\n{', '.join(f'{k} {v}' for k, v in where.items())}.\n")
        print(table)


def _row(case: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Ours is the first rival; ratios are another's time in ours, the median over turns, with its quartiles."""
    ours, *others = seconds
    ratios: dict[str, dict[str, Any]] = {}
    for name in others:
        turns = [theirs / mine for theirs, mine in zip(seconds[name], seconds[ours], strict=True)]
        low, middle, high = statistics.quantiles(turns, n=4)
        ratios[name] = {"median": middle, "quartiles": [low, high], "turns": len(turns)}
    milliseconds = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    return {"case": case, "ms": milliseconds, "ratio": ratios}


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"# {title.strip()}", "", "| case | rival | ours, ms | rival, ms | rival / ours (quartiles) |"]
    lines.append("| --- | --- | ---: | ---: | ---: |")
    for row in rows:
        ours = next(iter(row["ms"].values()))
        for name, ratio in row["ratio"].items():
            low, high = ratio["quartiles"]
            lines.append(
                f"| {row['case']} | {name} | {ours:.1f} | {row['ms'][name]:.1f} | "
                f"{ratio['median']:.2f} ({low:.2f} to {high:.2f}, {ratio['turns']} turns) |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
