"""The bound C of the recursive mixture: validation log p(x) on 10,000 MNIST images, 4 components, 10 epochs.

``python -m benchmarks.bound DATA``: DATA holds MNIST in torchvision's layout.
"""

from __future__ import annotations

import sys

import torch

import pyro_vaes as pv
from benchmarks.timing import RESULTS
from pyro_vaes.recipes import Settings, build_seeded, vae

GUIDES = ["mean-field", *(f"recursive-mixture(bound={bound})" for bound in (1, 2, 3, 5, 10, 30, 500))]
IMAGES, SAMPLES, SEED = 1000, 200, 0


def main() -> None:
    """Train, print and save the table."""
    lines = [f"# {(__doc__ or '').splitlines()[0]}", "", "| guide | gaussian, nats | bernoulli, nats |"]
    lines.append("| --- | ---: | ---: |")
    for guide in GUIDES:
        figures = [_log_likelihood(guide, likelihood) for likelihood in ("gaussian", "bernoulli")]
        lines.append(f"| {guide} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    lines += ["", f"The first {IMAGES} validation images, {SAMPLES} importance samples each, seed {SEED}; "]
    lines[-1] += f"torch {torch.__version__}. Run again: `python -m benchmarks.bound DATA`"
    (RESULTS / "bound.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    print("\n".join(lines))


def _log_likelihood(guide: str, likelihood: str) -> float:
    binarize = "dynamic" if likelihood == "bernoulli" else None
    data = pv.data.load("mnist", sys.argv[1], binarize=binarize, train_size=10_000)
    settings = Settings(guide=guide, likelihood=likelihood, epochs=10)
    system = build_seeded(vae, data.event_shape, settings, SEED)
    pv.fit(*system[:2], data, system.loss, epochs=settings.epochs, seed=SEED)
    torch.manual_seed(SEED)
    return pv.evaluate.log_likelihood(*system[:2], data.valid.x[:IMAGES], SAMPLES).mean


if __name__ == "__main__":
    main()
