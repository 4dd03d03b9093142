"""Latent traversals: images of a model as one latent varies and the others are fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input
from pyro_vaes.evaluate.posterior_means import mean
from pyro_vaes.models import LevelsModel
from pyro_vaes.plots.images import tiled
from pyro_vaes.vae import VAE

DRAWS = 1000  # from a latent's prior, whose quantiles are traversed


class LatentView(NamedTuple):
    """One level of a model: the name of its site, the decoder of its traversal, draws of its prior, and the prior."""

    name: str
    decode: Callable[..., Tensor]
    draws: Tensor
    prior: object


def latent_views(model: VAE | LevelsModel) -> list[LatentView]:
    """The levels of a model, the lowest first."""
    if isinstance(model, VAE):
        return [LatentView("z", model.decode, model.prior().sample((DRAWS,)), model.prior)]
    draws = model.sample_latents(DRAWS)
    priors = [None] * (len(draws) - len(model.priors)) + [*model.priors]  # a stack has one of its highest level only
    return [
        LatentView(f"z{level}", partial(model.decode_from, level), *pair)
        for level, pair in enumerate(zip(draws, priors, strict=True), 1)
    ]


def fixed_latents(model: nn.Module, guide: Any, x: Tensor, parts: Sequence[LatentView]) -> list[Tensor]:
    """The value of each level while another varies: its posterior mean at x, or a prior draw without a posterior."""
    x = as_input(model, x).to(next(guide.parameters()))
    if hasattr(guide, "posteriors"):
        return [mean(q)[0] for q in guide.posteriors(x)]
    if hasattr(guide, "posterior"):
        return [mean(guide.posterior(x))[0]]
    return [part.draws[0] for part in parts]


def traversals_of(parts: Sequence[LatentView], fixed: Sequence[Tensor], points: int) -> Figure:
    """Traversals of a model's latents around fixed values."""
    return traversals([part.decode for part in parts], fixed, [part.draws for part in parts], points)


def draw_traversals(model: VAE | LevelsModel, guide: nn.Module, x: Tensor, points: int = 8) -> Figure:
    """The figure ``traversals.png``, with fixed levels at the posterior means of a datum ``(1, *event_shape)``.

    Example:
        >>> len(draw_traversals(vae, guide, x[:1], points=3).axes)
        1
    """
    parts = latent_views(model)
    return traversals_of(parts, fixed_latents(model, guide, x, parts), points)


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
