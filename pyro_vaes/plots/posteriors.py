"""Posterior densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, as_tensor, evaluating
from pyro_vaes.given import take, unbound
from pyro_vaes.vae import VAE, Guide

if TYPE_CHECKING:
    from pyro_vaes.evaluate import ReferenceComparison
from pyro_vaes.plots.images import as_pictures


def corrected_posteriors(x: Tensor, rebuilt: Tensor, draws: Tensor, corrected: Tensor) -> Figure:
    """Each datum, its reconstruction, and draws of its posterior before (red) and after (gray) importance resampling.

    Shown are the two dimensions whose means change most by resampling, in the guide's standard deviations.

    Args:
        x: data ``(N, *event_shape)``.
        rebuilt: reconstructions of the data.
        draws: draws of the guide, ``(S, N, Z)``.
        corrected: the draws, resampled by their importance weights.
    """
    pictures = [x, rebuilt] if x.dim() == 4 and x.shape[1] in (1, 3) else []
    figure = Figure(figsize=(1.3 * len(x), 1.5 * (len(pictures) + 1)), layout="constrained")
    table = figure.subplots(len(pictures) + 1, len(x), squeeze=False)
    for line, images in zip(table, pictures, strict=False):
        for axes, image in zip(line, as_pictures(images), strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
    moved = (corrected.mean(0) - draws.mean(0)).abs() / draws.std(0).clamp_min(1e-12)
    for index, axes in enumerate(table[-1]):
        shown = moved[index].topk(min(2, draws.shape[-1])).indices
        for each, style in ((corrected, {"color": "0.4", "s": 8}), (draws, {"color": "C3", "s": 2, "alpha": 0.4})):
            first, last = each[:, index, shown[0]], each[:, index, shown[-1]]
            axes.scatter(first, last, linewidths=0, **style)
        axes.tick_params(labelsize=5)
        axes.set_title(" ".join(f"z{d}" for d in shown.tolist()), fontsize=7)
    return figure


def reference_posteriors(compared: ReferenceComparison) -> Figure:
    """Each datum's posterior by a guide (red) and by a reference (gray): two marginals, and their joint contours.

    Contours enclose 50 and 95 % of the mass. Shown are the two dimensions whose means differ most.

    Args:
        compared: result of ``compare_with_reference``.
    """
    away = (compared.guide_mean - compared.reference_mean).abs() / compared.reference_scale.clamp_min(1e-12)
    count, size = away.shape
    figure = Figure(figsize=(7.5, 2 * count), layout="constrained")
    table = figure.subplots(count, 3, squeeze=False)
    for index, line in enumerate(table):
        dims = away[index].topk(min(2, size)).indices.tolist()
        for draws, color in ((compared.reference_draws, "0.4"), (compared.guide_draws, "C3")):
            chosen = draws[::2, index][:, [dims[0], dims[-1]]].T.double().numpy()
            for axes, values, dim in zip(line, chosen, dims, strict=False):
                axes.plot(*_density(values), color=color)
                axes.set_title(f"z{dim}", fontsize=8)
            if size > 1:
                _contours(line[2], chosen, color)
        for axes in line:
            axes.tick_params(labelsize=6)
        line[1].set_visible(size > 1)
        line[2].set_visible(size > 1)
    return figure


def _density(values: np.ndarray, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Kernel density estimate of draws on a grid."""
    from scipy.stats import gaussian_kde

    grid = np.linspace(values.min(), values.max(), points)
    return grid, gaussian_kde(values)(grid)


def _contours(axes: Axes, draws: np.ndarray, color: str, points: int = 60) -> None:
    """Contours of a kernel density estimate of draws ``(2, S)``."""
    from scipy.stats import gaussian_kde

    sides = [np.linspace(side.min(), side.max(), points) for side in draws]
    grid = np.stack(np.meshgrid(*sides))
    mass = torch.from_numpy(gaussian_kde(draws)(grid.reshape(2, -1)))
    mass = mass / mass.sum()
    axes.contour(*grid, mass.reshape(points, points), levels=_contour_heights(mass), colors=color, linewidths=1)


@torch.no_grad()
def posteriors(pairs: Mapping[str, tuple[VAE, Guide]], x: Tensor, points: int = 121) -> Figure:
    """Contours of each guide's posterior over the exact posterior, on a grid of a two-dimensional latent.

    Contours enclose 50 and 95 % of the mass of q(z | x) (lines) and of p(z | x) (filled). Rows of one model show the
    same part of its latent space, so that p(z | x) looks the same in each.

    Args:
        pairs: model and guide, by the name of their row.
        x: a few observations, ``(N, *event_shape)``, one per column.
        points: number of grid points per side.

    Raises:
        InputError: If a latent does not have two dimensions, or a model refuses x.
    """
    x = as_tensor(x)
    figure = Figure(figsize=(2 * len(x) + 0.6, 2 * len(pairs)), layout="constrained")
    table = figure.subplots(len(pairs), len(x), squeeze=False)
    for line, (name, (model, _)) in zip(table, pairs.items(), strict=True):
        if model.latent_dim != 2:
            raise InputError(f"the latent has {model.latent_dim} dimensions: contours need 2 (--latent-dim 2)")
        line[0].set_ylabel(name)
    models = [unbound(model) for model, _ in pairs.values()]
    for column, datum in enumerate(x.split(1)):
        rows = slice(column, column + 1)
        views = [(take(model, rows), take(guide, rows)) for model, guide in pairs.values()]
        windows = [_window(model, guide, datum, points) for model, guide in views]
        for axes, (model, guide) in zip(table[:, column], views, strict=True):
            shared = [window for window, other in zip(windows, models, strict=True) if other is unbound(model)]
            _draw_posterior(axes, model, guide, datum, torch.stack(shared), points)
    return figure


def _log_densities(
    model: VAE, guide: Guide, datum: Tensor, low: Tensor, high: Tensor, points: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A grid ``(points², 2)`` of z between two corners, and log p(x, z) and log q(z | x) on it."""
    sides = [torch.linspace(float(a), float(b), points) for a, b in zip(low, high, strict=True)]
    x = as_input(model, datum)
    with evaluating(model, guide, x=x):
        z = torch.stack(torch.meshgrid(*sides, indexing="xy"), -1).reshape(-1, 1, 2).to(x)
        return z[:, 0], model.log_joint(x, z)[:, 0], guide.posterior(x).log_prob(z)[:, 0]


def _window(model: VAE, guide: Guide, datum: Tensor, points: int) -> Tensor:
    """The corners ``(2, 2)``, low and high, of the part of the latent space that holds both posteriors."""
    z, log_p, log_q = _log_densities(model, guide, datum, torch.full((2,), -5.0), torch.full((2,), 5.0), points)
    x = as_input(model, datum)
    with evaluating(model, guide, x=x):
        draws = guide.posterior(x).sample((1000,))[:, 0]  # a flow's moments have no closed form
    center, spread = draws.mean(0), 4 * draws.std(0)
    near = z[(log_p > log_p.max() - 8) | (log_q > log_q.max() - 8)]
    near = torch.cat([near, (center - spread)[None], (center + spread)[None]])
    return torch.stack([near.amin(0), near.amax(0)]).cpu()


def _draw_posterior(axes: Axes, model: VAE, guide: Guide, datum: Tensor, windows: Tensor, points: int) -> None:
    """Both posteriors in the smallest window that holds some windows ``(W, 2, 2)``."""
    low, high = windows[:, 0].amin(0), windows[:, 1].amax(0)
    z, log_p, log_q = _log_densities(model, guide, datum, low, high, points)
    grid = z.reshape(points, points, 2).cpu()
    for log_density, draw, style in (
        (log_p, axes.contourf, {"colors": ["0.8", "0.55"], "extend": "max"}),
        (log_q, axes.contour, {"colors": "C3", "linewidths": 1}),
    ):
        mass = log_density.double().softmax(0).cpu()
        draw(grid[..., 0], grid[..., 1], mass.reshape(points, points), levels=_contour_heights(mass), **style)
    axes.tick_params(labelsize=6)


def _contour_heights(mass: Tensor) -> list[float]:
    """Strictly increasing heights whose contours enclose 95 and 50 % of the mass."""
    ordered, _ = mass.sort(descending=True)
    total = ordered.cumsum(0)
    outer, inner = (float(ordered[int((total < share).sum().clamp_max(len(mass) - 1))]) for share in (0.95, 0.5))
    return [outer, max(inner, outer * (1 + 1e-6) + 1e-300)]
