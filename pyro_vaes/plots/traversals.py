"""Latent traversals: images of a model as one latent varies and the others are fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vaes.data.pixel_transform import IDENTITY
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating
from pyro_vaes.evaluate.posterior_means import posterior_means
from pyro_vaes.given import in_turn
from pyro_vaes.plots.images import tiled
from pyro_vaes.priors import Prior
from pyro_vaes.vae import Guide, LatentVariableModel

AsPixels = Callable[[Tensor], Tensor]

DRAWS = 1000  # from a latent's prior, whose quantiles are traversed


class LatentView(NamedTuple):
    """One latent of a model: its site, the decoder as it moves, draws of it, and its prior, None if conditional."""

    site: str
    decode: Callable[..., Tensor]
    draws: Tensor
    prior: Prior | None


def latent_views(model: LatentVariableModel, as_pixels: AsPixels) -> list[LatentView]:
    """The latents of a model, the lowest first, with their images as pixels."""
    return [
        LatentView(site, partial(_decoded, model, as_pixels, site), draws, model.priors.get(site))
        for site, draws in zip(model.sites, in_turn(model, DRAWS).sample_latents(DRAWS), strict=True)
    ]


def _decoded(model: LatentVariableModel, as_pixels: AsPixels, site: str, *z: Tensor) -> Tensor:
    return as_pixels(model.decode_from(site, *z))


def fixed_latents(model: nn.Module, guide: nn.Module, x: Tensor, views: Sequence[LatentView]) -> list[Tensor]:
    """The value of each latent while another moves: a posterior mean, or a draw of the prior if there is none."""
    if not isinstance(guide, Guide):
        return [view.draws[0] for view in views]
    x = as_input(model, x)
    with evaluating(guide, x=x):
        return [code[0] for code in posterior_means(guide, x).values()]


def traversals_of(views: Sequence[LatentView], fixed: Sequence[Tensor], points: int) -> Figure:
    """The traversals of a model's latents around fixed values."""
    return traversals([view.decode for view in views], fixed, [view.draws for view in views], points)


def draw_traversals(
    model: LatentVariableModel, guide: nn.Module, x: Tensor, points: int = 8, as_pixels: AsPixels = IDENTITY.inverse
) -> Figure:
    """The figure of ``traversals.png``, the others fixed at the posterior means of a datum ``(1, *event_shape)``.

    Args:
        model: the model.
        guide: its guide.
        x: the datum.
        points: images per side of a latent's grid.
        as_pixels: map from E[x | z] to pixels, such as ``data.as_pixels``.

    Example:
        >>> len(draw_traversals(vae, guide, x[:1], points=3).axes)
        1
    """
    views = latent_views(model, as_pixels)
    return traversals_of(views, fixed_latents(model, guide, x, views), points)


@torch.no_grad()
def traversals(
    decode: Callable[..., Tensor] | Sequence[Callable[..., Tensor]],
    fixed: Sequence[Tensor],
    draws: Sequence[Tensor],
    points: int = 8,
) -> Figure:
    """Latent traversals with one panel per level: images of a model as that level varies and the others are fixed.

    A level traverses the quantiles (i + 1/2) / ``points`` of its draws along two of its dimensions, the first from
    left to right and the second from bottom to top. These are the two dimensions that change the image most, in mean
    square, from their first to their last quantile.

    Args:
        decode: the model's ``decode``, with one latent per level; or one function for each level, if lower levels
            depend on it.
        fixed: value of each level while another varies, the lowest level first.
        draws: draws of each level's prior, or codes of data, whose quantiles are traversed.
        points: number of images per side.

    Shapes:
        ``fixed[l] (Z_l,)``, ``draws[l] (N, Z_l)``.

    Raises:
        InputError: If these differ in number or size, or the model's data are not images.

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
    """Grid of one level, along at most two dimensions of its quantiles ``(points, Z_l)``."""

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
    axes.imshow(tiled(pictures(moved), len(across)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for dimension, label in zip(dimensions.tolist(), ("xlabel", "ylabel"), strict=False):
        axes.set(**{label: f"dimension {dimension}"})
