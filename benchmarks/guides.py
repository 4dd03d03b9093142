"""Every guide on four sets of images, two sets at a time with one thread each; resumes where it was interrupted.

``python -m benchmarks.guides DATA WORK``: DATA holds MNIST and FashionMNIST in torchvision's layout and
``omniglot-small.npz``; WORK gets the runs. The reports go to ``benchmarks/results/guides``.
"""

from __future__ import annotations

import csv
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.running import AT_ONCE, command, places
from benchmarks.timing import RESULTS

GUIDES = (
    "mean-field,full-covariance,low-rank,laplace(updates=1),semi-amortized(steps=8),householder,"
    "inverse-autoregressive-flow,mixture,boosted-mixture,recursive-mixture"
)
ORDERS = ",".join(f"recursive-mixture(components={components})" for components in (1, 2, 3, 5))
MNIST = "--data mnist --train-size 10000 --test-size 2000 --epochs 20"
SETS = {
    "mnist-gaussian": f"--guides {GUIDES},{ORDERS} {MNIST} --likelihood gaussian",
    "mnist-bernoulli": f"--guides {GUIDES} {MNIST} --likelihood bernoulli",
    "fashion-mnist-gaussian": f"--guides {GUIDES} --data fashion-mnist --train-size 5000 --test-size 2000 --epochs 20",
    "omniglot-small-bernoulli": f"--guides {GUIDES} --data DATA/omniglot-small.npz --likelihood bernoulli --epochs 20",
}


def main() -> None:
    """Compare, copy the reports, write the summary."""
    data, work = places(__doc__)
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: _compare(name, data, work), SETS))
    for name in SETS:
        _copy(work / name, RESULTS / "guides" / name, str(data))
    _summarise(RESULTS / "guides")
    print(f"{(time.perf_counter() - start) / 60:.0f} minutes in this call")


def _compare(name: str, data: Path, work: Path) -> None:
    out = work / name
    words = ["compare", "--data-root", str(data), *(word.replace("DATA", str(data)) for word in SETS[name].split())]
    words += ["--num-samples", "500", "--diagnose", "0", "--out", str(out), *(["--resume"] if out.exists() else [])]
    command(words, work / f"{name}.log")


def _copy(report: Path, to: Path, data: str) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for path in report.iterdir():
        if path.suffix in {".csv", ".md", ".png"}:
            shutil.copy(path, to)
    config = (report / "config.yaml").read_text().replace(data, "DATA").replace(str(report), report.name)
    (to / "config.yaml").write_text(config)


def _summarise(folder: Path) -> None:
    """One table over all sets: log p(x) above mean-field, with its standard error, and the time of an inference."""
    tables = {name: {row["guide"]: row for row in _rows(folder / name / "report.csv")} for name in SETS}
    lines = ["# Every guide: test log p(x) above mean-field, nats, ± standard error over 2 seeds", ""]
    lines += [f"| guide | {' | '.join(SETS)} | ms an inference of 128 |", "| --- " + "| ---: " * (len(SETS) + 1) + "|"]
    for guide in next(iter(tables.values())):
        cells = [_cell(tables[name].get(guide, {})) for name in SETS]
        times = [tables[name][guide]["inference_ms"] for name in SETS if guide in tables[name]]
        fastest = f"{min(map(float, times)):.2f}" if all(times) else ""
        lines.append(f"| {guide} | {' | '.join(cells)} | {fastest} |")
    lines += ["", "Mean-field's row, and pPCA's, are log p(x) itself; the time is the least of the sets'."]
    lines += ["Each set's report has the rest. Run again: `python -m benchmarks.guides DATA WORK`.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _cell(row: dict[str, str]) -> str:
    if not row:
        return ""
    if not row["difference"]:
        return f"{float(row['log_likelihood']):.2f}"
    return f"{float(row['difference']):+.2f} ± {float(row['difference_stderr']):.2f}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
