"""2,000 epochs on the embedded digits with all logging: resident memory and sizes of the files as training goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyro_vaes as pv
from benchmarks.helpers.results import Folders, Row
from pyro_vaes.reports.tables import markdown_table

EPOCHS = (20, 200, 2_000)


def run(folders: Folders) -> list[Row]:
    """One row per part of the training; each part resumes the one before."""
    data = pv.data.load("digits")
    model, guide, loss = pv.recipes.vae(data.event_shape, pv.recipes.Settings(hidden=(64,), latent_dim=8))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        for epochs in EPOCHS:
            pv.fit(model, guide, data, loss, epochs=epochs, device="cpu", out=out, resume=out.exists(), step="eager")
            rows.append({"epochs": epochs, "memory_mib": _resident(), "files_mib": _sizes(out)})
    return rows


def page(rows: Sequence[Row]) -> list[str]:
    cells = [[row["epochs"], f"{row['memory_mib']:.0f}", _listed(row["files_mib"])] for row in rows]
    return [markdown_table(["epochs", "resident memory, MiB", "files, MiB"], cells)]


def _resident() -> float:
    """Memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _sizes(out: Path) -> dict[str, float]:
    """MiB of the run's files by name, events together."""
    sizes: dict[str, float] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            name = path.relative_to(out).parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size / 2**20
    return sizes


def _listed(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {size:.2f}" for name, size in sizes.items())
