"""The pictures of a comparison's report."""

from __future__ import annotations

import itertools
import statistics

import torch
from matplotlib.figure import Figure

from pyro_vaes import plots
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.evaluate import mean_interval, posterior_means
from pyro_vaes.evaluate.inputs import evaluating, of_split, seeded
from pyro_vaes.given import in_turn, take
from pyro_vaes.reports.compare_summary import Comparison, stacked

PICTURED = 10  # images per row

CAPTIONS = {
    "gaps": "Gap of each guide, with its 95 % interval, against its time of inference; the line joins the guides on "
    "which no other one improves in both.",
    "learning-curves": "Validation ELBO by epoch, one line per seed.",
    "samples": "E[x | z] of draws z from the prior.",
    "reconstructions": "Test images, and E[x | z] at the posterior mean of each guide.",
    "posteriors": "True posteriors of test images (gray, 50 and 95 % of the mass), and each guide's (red).",
}


@torch.no_grad()
def pictures(comparison: Comparison) -> dict[str, Figure]:
    """Figures by name: of all trials their gaps and learning curves, of first seeds what can be drawn of the data."""
    groups, data = comparison.groups, comparison.data
    trained = {name: group[0].system[:2] for name, group in groups.items()}
    rows = evenly_spaced(len(data.test), PICTURED)
    pairs = {name: of_split(data.test, rows, *pair) for name, pair in trained.items()}
    gaps = {name: mean_interval(stacked([each.measured.gap for each in group])) for name, group in groups.items()}
    times = {name: statistics.mean(each.row["inference_ms"] for each in group) for name, group in groups.items()}
    histories = {name: [each.history for each in group] for name, group in groups.items()}
    figures = {"gaps": plots.gap_against_time(gaps, times), "learning-curves": plots.learning_curves(histories)}
    x = data.test.x[rows].to(next(comparison.trials[0].system.model.parameters()).device)
    if len(data.event_shape) == 3 and data.event_shape[0] in (1, 3):
        names = ["model"] if comparison.frozen else list(pairs)
        with evaluating(*itertools.chain(*pairs.values())), seeded(0, x.device):
            models = [model for (model, _), _ in zip(pairs.values(), names, strict=False)]
            samples = [in_turn(model, PICTURED) for model in models]
            samples = [model.decode(*model.sample_latents(PICTURED)) for model in samples]
            rebuilt = [model.decode(*posterior_means(guide, x).values()) for model, guide in pairs.values()]
        figures["samples"] = plots.image_grid([*map(data.as_pixels, samples)], names)
        figures["reconstructions"] = plots.image_grid([*map(data.as_pixels, [x, *rebuilt])], ["original", *pairs])
    if all(model.latent_dims == (2,) for model, _ in pairs.values()):
        few = {name: tuple(take(each, slice(5)) for each in pair) for name, pair in pairs.items()}
        figures["posteriors"] = plots.posteriors(few, x[:5])
    return figures
