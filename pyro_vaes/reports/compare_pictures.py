"""The pictures of a comparison's report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes import plots
from pyro_vaes.data import Data
from pyro_vaes.evaluate import posterior_means
from pyro_vaes.evaluate.inputs import evaluating
from pyro_vaes.reports.trial import Trial

PICTURED = 10  # images per row


@torch.no_grad()
def pictures(trials: Sequence[Trial], data: Data, x_test: Tensor) -> dict[str, Figure]:
    """Figures by name: learning curves, and of every guide's first seed what can be drawn of data and latents.

    Args:
        trials: what to report on.
        data: what they were trained on.
        x_test: what they were tested on.
    """
    first: dict[str, Trial] = {}
    histories: dict[str, list[Sequence[dict[str, float]]]] = {}
    for trial in trials:
        first.setdefault(trial.guide, trial)
        histories.setdefault(trial.guide, []).append(trial.history)
    pairs = {name: (trial.system.model, trial.system.guide) for name, trial in first.items()}
    figures = {"learning-curves": plots.learning_curves(histories)}
    x = x_test[:PICTURED].to(next(trials[0].system.model.parameters()).device)
    if len(data.event_shape) == 3 and data.event_shape[0] in (1, 3):
        with evaluating(*itertools.chain(*pairs.values())), torch.random.fork_rng():
            torch.manual_seed(0)
            samples = [model.decode(*model.sample_latents(PICTURED)) for model, _ in pairs.values()]
            rebuilt = [model.decode(*posterior_means(guide, x).values()) for model, guide in pairs.values()]
        figures["samples"] = plots.image_grid([*map(data.as_pixels, samples)], list(pairs))
        figures["reconstructions"] = plots.image_grid([*map(data.as_pixels, [x, *rebuilt])], ["original", *pairs])
    if all(model.latent_dims == (2,) for model, _ in pairs.values()):
        figures["posteriors"] = plots.posteriors(pairs, x[:5])
    return figures
