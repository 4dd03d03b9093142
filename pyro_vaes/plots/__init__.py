"""Matplotlib figures of training, samples, reconstructions and posteriors."""

from pyro_vaes.plots.completions import completions
from pyro_vaes.plots.covariances import posterior_covariances
from pyro_vaes.plots.diagnostics import gap_bars, learning_curves, pareto_histogram, rank_histograms
from pyro_vaes.plots.frontier import gap_against_time
from pyro_vaes.plots.images import as_pictures, clusters, image_grid
from pyro_vaes.plots.posteriors import corrected_posteriors, posteriors, reference_posteriors
from pyro_vaes.plots.traversals import draw_traversals, traversals

__all__ = [
    "as_pictures",
    "clusters",
    "completions",
    "corrected_posteriors",
    "draw_traversals",
    "gap_against_time",
    "gap_bars",
    "image_grid",
    "learning_curves",
    "pareto_histogram",
    "posterior_covariances",
    "posteriors",
    "rank_histograms",
    "reference_posteriors",
    "traversals",
]
