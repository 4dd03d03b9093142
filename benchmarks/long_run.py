"""2,000 epochs on the embedded digits with all logging: memory at the start and the end, and the sizes of the files.

``python -m benchmarks.long_run``; the table goes to ``benchmarks/results/long_run.md``.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

import torch

import pyro_vaes as pv
from benchmarks.timing import RESULTS

EPOCHS = (20, 200, 2_000)


def main() -> None:
    """Train in three parts, each going on with the one before, and look after each."""
    torch.set_num_threads(1)
    data = pv.data.load("digits")
    model, guide, loss = pv.recipes.vae(data.event_shape, pv.recipes.Settings(hidden=(64,), latent_dim=8))
    lines = [
        "# A long run",
        "",
        *(__doc__ or "").splitlines()[:1],
        "",
        "| epochs | resident memory, MiB | files, MiB |",
    ]
    lines.append("| ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        for epochs in EPOCHS:
            pv.fit(model, guide, data, loss, epochs=epochs, device="cpu", out=run, resume=run.exists(), step="eager")
            lines.append(f"| {epochs} | {_resident():.0f} | {_sizes(run)} |")
    lines += [
        "",
        f"`python -m benchmarks.long_run`: torch {torch.__version__}, Python {platform.python_version()}, CPU.",
        "",
    ]
    (RESULTS / "long_run.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _resident() -> float:
    """Memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _sizes(run: Path) -> str:
    """The files of the run by name, events together."""
    sizes: dict[str, int] = {}
    for path in sorted(run.rglob("*")):
        if path.is_file():
            name = path.relative_to(run).parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return ", ".join(f"{name} {size / 2**20:.2f}" for name, size in sizes.items())


if __name__ == "__main__":
    main()
