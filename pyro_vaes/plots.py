"""Pictures of training, samples, reconstructions and posteriors; each function gives a matplotlib figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.vae import VAE, Guide

if TYPE_CHECKING:
    from pyro_vaes.evaluate import Calibration, InferenceGaps, ReferenceComparison


def learning_curves(histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Figure:
    """Validation ELBO in nats against the epoch: a colour a guide, a line a seed.

    Args:
        histories: ``Run.history`` of every seed, by guide.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    lows = []
    for index, (name, runs) in enumerate(histories.items()):
        for seed, history in enumerate(runs):
            elbo = [row["valid_elbo"] for row in history]
            lows.append(elbo[len(elbo) // 10])
            label = name if seed == 0 else None
            axes.plot([row["epoch"] for row in history], elbo, color=f"C{index}", label=label, alpha=0.8)
    axes.set(xlabel="epoch", ylabel="validation ELBO (nats)")
    axes.locator_params(axis="x", integer=True)
    if lows:
        axes.set_ylim(bottom=min(lows))  # the first epochs would hide the rest
    axes.legend()
    return figure


def image_grid(rows: Sequence[Tensor], names: Sequence[str] = ()) -> Figure:
    """Rows of images, each with its name if there are names.

    Args:
        rows: images ``(N, C, H, W)`` in [0, 1], C being 1 or 3.
        names: a name a row.

    Raises:
        InputError: where the data are no images.
    """
    count = max(len(images) for images in rows)
    figure = Figure(figsize=(0.7 * count + (1.4 if names else 0), 0.75 * len(rows) + 0.1), layout="constrained")
    table = figure.subplots(len(rows), count, squeeze=False)
    for axes in table.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    for line, images in zip(table, rows, strict=True):
        for axes, image in zip(line, as_pictures(images), strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for line, name in zip(table, names, strict=False):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def as_pictures(images: Tensor) -> list[Tensor]:
    """Images ``(N, C, H, W)`` as matplotlib takes them, clipped to [0, 1].

    Raises:
        InputError: where the data are no images of 1 or 3 channels.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"data of shape {tuple(images.shape[1:])} cannot be drawn: images are (1, H, W) or (3, H, W)")
    return [image.movedim(0, -1).clamp(0, 1).squeeze(-1) for image in images.detach().cpu()]


def gap_bars(gaps: Mapping[str, InferenceGaps]) -> Figure:
    """Approximation and amortisation gap of each guide in nats, stacked, means over images with standard errors.

    Args:
        gaps: what ``inference_gaps`` gave, by guide.
    """
    figure = Figure(figsize=(8, 0.5 * len(gaps) + 1.2), layout="constrained")
    axes = figure.subplots()
    summaries = [each.summary() for each in gaps.values()]
    left = [0.0] * len(gaps)
    for name in ("approximation", "amortisation"):
        means, errors = zip(*(summary[name] for summary in summaries), strict=True)
        axes.barh([*gaps], means, left=left, xerr=errors, label=name, capsize=2)
        left = [start + mean for start, mean in zip(left, means, strict=True)]
    axes.set(xlabel="log p(x) - ELBO (nats)")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def pareto_histogram(gaps: Mapping[str, InferenceGaps]) -> Figure:
    """How many images have which k-hat, a panel a guide; above 0.7, right of the line, weights are not to be trusted.

    Args:
        gaps: what ``inference_gaps`` gave, by guide.
    """
    figure, panels = _panels(len(gaps))
    for axes, (name, each) in zip(panels, gaps.items(), strict=False):
        axes.hist(each.pareto_k[each.pareto_k.isfinite()].clamp(-0.5, 2).numpy(), bins=25, range=(-0.5, 2))
        axes.axvline(0.7, color="C3")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("k-hat")
    return figure


def rank_histograms(calibrations: Mapping[str, Calibration]) -> Figure:
    """Ranks of simulated latents, a line a dimension, a panel a guide; flat, inside the band, where the guide is exact.

    Args:
        calibrations: what ``calibration`` gave, by guide.
    """
    figure, panels = _panels(len(calibrations))
    bins = 20
    for axes, (name, each) in zip(panels, calibrations.items(), strict=False):
        cells = each.ranks * bins // (each.num_samples + 1)
        counts = torch.stack([torch.bincount(column, minlength=bins) for column in cells.T])
        expected = len(each.ranks) / bins
        axes.axhspan(expected - 3 * expected**0.5, expected + 3 * expected**0.5, color="0.9")
        axes.plot(torch.linspace(0, 1, bins), counts.T, color="C0", alpha=0.4, linewidth=1)
        axes.set(ylim=(0, max(2 * expected, 1.05 * counts.max().item())), xlabel="rank / L")
        axes.set_title(name, fontsize=9)
    return figure


def corrected_posteriors(x: Tensor, rebuilt: Tensor, draws: Tensor, corrected: Tensor) -> Figure:
    """Each datum, its reconstruction, and draws of its posterior (red) beside those that its weights correct (grey).

    Shown are the two dimensions whose means the weights move most, in the guide's standard deviations.

    Args:
        x: data ``(N, *event_shape)``.
        rebuilt: their reconstructions.
        draws: of the guide, ``(S, N, Z)``.
        corrected: draws from these by their importance weights.
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
    """Each datum's posterior by a guide (red) and by its reference (grey): two marginals, and contours of the two.

    Contours enclose 50 and 95 % of the mass. Shown are the two dimensions whose means differ most.

    Args:
        compared: what ``compare_with_reference`` gave.
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
    """A smooth density of draws, on a grid."""
    from scipy.stats import gaussian_kde

    grid = np.linspace(values.min(), values.max(), points)
    return grid, gaussian_kde(values)(grid)


def _contours(axes: Axes, draws: np.ndarray, color: str, points: int = 60) -> None:
    """Contours of a smooth density of draws ``(2, S)``."""
    from scipy.stats import gaussian_kde

    sides = [np.linspace(side.min(), side.max(), points) for side in draws]
    grid = np.stack(np.meshgrid(*sides))
    mass = torch.from_numpy(gaussian_kde(draws)(grid.reshape(2, -1)))
    mass = mass / mass.sum()
    axes.contour(*grid, mass.reshape(points, points), levels=_levels(mass), colors=color, linewidths=1)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, four a row."""
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 2.0 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels


@torch.no_grad()
def posteriors(pairs: Mapping[str, tuple[VAE, Guide]], x: Tensor, points: int = 121) -> Figure:
    """Contours of each guide's posterior over its model's true one, on a grid of a two-dimensional latent.

    Contours enclose 50 and 95 % of the mass of q(z | x) (lines) and of p(z | x) (filled).

    Args:
        pairs: model and guide by the name of their row.
        x: a few data, ``(N, *event_shape)``, a column each.
        points: grid points a side.

    Raises:
        InputError: where a latent has another size than 2.
    """
    figure = Figure(figsize=(2 * len(x) + 0.6, 2 * len(pairs)), layout="constrained")
    table = figure.subplots(len(pairs), len(x), squeeze=False)
    for line, (name, (model, guide)) in zip(table, pairs.items(), strict=True):
        if model.latent_dim != 2:
            raise InputError(f"the latent has {model.latent_dim} dimensions: contours need 2 (--latent-dim 2)")
        line[0].set_ylabel(name)
        for axes, datum in zip(line, x, strict=True):
            _draw_posterior(axes, model, guide, datum, points)
    return figure


def _draw_posterior(axes: Axes, model: VAE, guide: Guide, datum: Tensor, points: int) -> None:
    q = guide.posterior(datum.unsqueeze(0))

    def log_densities(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sides = [torch.linspace(float(a), float(b), points) for a, b in zip(low, high, strict=True)]
        z = torch.stack(torch.meshgrid(*sides, indexing="xy"), -1).reshape(-1, 1, 2).to(datum)
        return z[:, 0], model.log_joint(datum.unsqueeze(0), z)[:, 0], q.log_prob(z)[:, 0]

    z, log_p, log_q = log_densities(torch.full((2,), -5.0), torch.full((2,), 5.0))
    near = z[(log_p > log_p.max() - 8) | (log_q > log_q.max() - 8)]
    draws = q.sample((1000,))[:, 0]  # since a flow has no moments in closed form
    centre, spread = draws.mean(0), 4 * draws.std(0)
    near = torch.cat([near, (centre - spread)[None], (centre + spread)[None]])
    z, log_p, log_q = log_densities(near.amin(0), near.amax(0))
    grid = z.reshape(points, points, 2).cpu()
    for log_density, draw, style in (
        (log_p, axes.contourf, {"colors": ["0.8", "0.55"], "extend": "max"}),
        (log_q, axes.contour, {"colors": "C3", "linewidths": 1}),
    ):
        mass = log_density.double().softmax(0).cpu()
        draw(grid[..., 0], grid[..., 1], mass.reshape(points, points), levels=_levels(mass), **style)
    axes.tick_params(labelsize=6)


def _levels(mass: Tensor) -> list[float]:
    """The heights above which lie 95 and 50 % of the mass, strictly rising."""
    ordered, _ = mass.sort(descending=True)
    total = ordered.cumsum(0)
    outer, inner = (float(ordered[int((total < share).sum().clamp_max(len(mass) - 1))]) for share in (0.95, 0.5))
    return [outer, max(inner, outer * (1 + 1e-6) + 1e-300)]


@torch.no_grad()
def traversals(
    decode: Callable[..., Tensor] | Sequence[Callable[..., Tensor]],
    fixed: Sequence[Tensor],
    draws: Sequence[Tensor],
    points: int = 8,
) -> Figure:
    """A panel a level: the pictures of a model while that level moves and the others stay fixed.

    A level moves over the quantiles of its draws, (i + 1/2) / ``points``, along two of its dimensions, the first from
    left to right and the second from bottom to top: the two that change the picture most, by its mean square, from
    their first to their last quantile.

    Args:
        decode: the model's ``decode``, of as many latents as there are levels; or one for each level that moves, where
            others follow it.
        fixed: each level's value while another moves, the lowest level first.
        draws: what each level moves through: draws of its prior, or codes of data.
        points: pictures a side.

    Shapes:
        ``fixed[l] (Z_l,)``, ``draws[l] (N, Z_l)``.

    Raises:
        InputError: where these differ in number or size, or the model's data are no images.

    References:
        Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), figures 5 and 6.
    """
    sizes = [[each.shape[-1] for each in latents] for latents in (fixed, draws)]
    if sizes[0] != sizes[1]:
        raise InputError(f"levels have the sizes {sizes[0]} in fixed and {sizes[1]} in draws: give both for each level")
    decoders = [decode] * len(fixed) if callable(decode) else decode
    if len(decoders) != len(fixed):
        raise InputError(f"decode holds {len(decoders)} functions for {len(fixed)} levels: give one for each, or one")
    figure = Figure(figsize=(3 * len(fixed), 3.2), layout="constrained")
    names = [f"z{level}" for level in range(1, len(fixed) + 1)] if len(fixed) > 1 else ["z"]
    for level, (axes, name) in enumerate(zip(figure.subplots(1, len(fixed), squeeze=False).flat, names, strict=True)):
        shares = (torch.arange(points, dtype=draws[level].dtype, device=draws[level].device) + 0.5) / points
        _draw_traversal(axes, decoders[level], fixed, level, draws[level].quantile(shares, 0))
        axes.set_title(name)
    return figure


def _draw_traversal(
    axes: Axes, decode: Callable[..., Tensor], fixed: Sequence[Tensor], level: int, quantiles: Tensor
) -> None:
    """One level's grid, along two dimensions at most of its quantiles ``(points, Z_l)``."""

    def pictures(moved: Tensor) -> Tensor:
        return decode(*(moved if i == level else z.expand(len(moved), -1) for i, z in enumerate(fixed)))

    own = torch.eye(quantiles.shape[1], dtype=torch.bool, device=quantiles.device)
    low, high = (pictures(torch.where(own, end, fixed[level])) for end in (quantiles[0], quantiles[-1]))
    change = (high - low).flatten(1).square().mean(1)
    dimensions = change.topk(min(2, len(change))).indices.sort().values
    across, *up = quantiles[:, dimensions].unbind(-1)
    grid = torch.cartesian_prod(up[0].flip(0), across).flip(-1) if up else across.unsqueeze(-1)
    moved = fixed[level].repeat(len(grid), 1)
    moved[:, dimensions] = grid
    axes.imshow(_tiled(pictures(moved), len(across)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for dimension, label in zip(dimensions.tolist(), ("xlabel", "ylabel"), strict=False):
        axes.set(**{label: f"dimension {dimension}"})


@torch.no_grad()
def clusters(
    decode: Callable[..., Tensor],
    latents: Sequence[Tensor],
    level: int,
    draws: Sequence[Tensor],
    names: Sequence[str] = (),
) -> Figure:
    """A row a cluster of one level: its samples, with the other levels alike within each column.

    A row shows what its cluster stands for, a column what the other levels do. Of a level with the prior
    ``GaussianMixture``, ``prior().component_distribution.sample((n,)).movedim(1, 0)`` gives the draws.

    Args:
        decode: the model's ``decode``, of as many latents as there are levels.
        latents: N draws of every level, the lowest first; those of ``level`` itself are not used.
        level: place in ``latents`` of the level that is clustered, 0 the lowest.
        draws: N draws of this level for each cluster.
        names: a name a row; the clusters' numbers if left out.

    Shapes:
        ``latents[l] (N, Z_l)``, ``draws (K, N, Z_level)``.

    Raises:
        InputError: where there is no such level, or the model's data are no images.
    """
    if not 0 <= level < len(latents):
        raise InputError(f"level is {level}: expected 0 to {len(latents) - 1}, the levels that latents holds")
    rows = [decode(*latents[:level], each, *latents[level + 1 :]) for each in draws]
    columns, height = len(rows[0]), rows[0].shape[-2]
    figure = Figure(figsize=(0.5 * columns + 0.8, 0.5 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(_tiled(torch.cat(rows), columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_anchor("W")  # since the layout makes too little room for names beside a picture that it centres
    axes.set_xticks([])
    labels = names or [str(row) for row in range(len(rows))]
    axes.set_yticks([(row + 0.5) * height - 0.5 for row in range(len(rows))], labels)
    return figure


def _tiled(images: Tensor, columns: int) -> Tensor:
    """Images side by side as one picture, row after row."""
    pictures = torch.stack(as_pictures(images)).unflatten(0, (-1, columns))  # (rows, columns, H, W) or (..., 3)
    return pictures.transpose(1, 2).flatten(2, 3).flatten(0, 1)
