"""Grids of images, and samples of clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes.errors import InputError


def image_grid(rows: Sequence[Tensor], names: Sequence[str] = ()) -> Figure:
    """Rows of images, with optional names.

    Args:
        rows: images ``(N, C, H, W)`` in [0, 1], with C = 1 or 3.
        names: one name per row.

    Raises:
        InputError: If the data are not images.
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
    """Images ``(N, C, H, W)`` in matplotlib's format, clipped to [0, 1], with missing pixels in gray.

    Raises:
        InputError: If the data are not images of 1 or 3 channels.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"data of shape {tuple(images.shape[1:])} cannot be drawn: images are (1, H, W) or (3, H, W)")
    return [image.movedim(0, -1).nan_to_num(nan=0.5).clamp(0, 1).squeeze(-1) for image in images.detach().cpu()]


@torch.no_grad()
def clusters(
    decode: Callable[..., Tensor],
    latents: Sequence[Tensor],
    level: int,
    draws: Sequence[Tensor],
    names: Sequence[str] = (),
) -> Figure:
    """Samples of the clusters of one level, one row per cluster, with the other levels fixed within each column.

    A row shows the meaning of its cluster, a column that of the other levels. For a level with the prior
    ``GaussianMixture``, the draws are ``prior().component_distribution.sample((n,)).movedim(1, 0)``.

    Args:
        decode: the model's ``decode``, with one latent per level.
        latents: N draws of every level, the lowest first; those of ``level`` itself are not used.
        level: index in ``latents`` of the clustered level, 0 the lowest.
        draws: N draws of this level for each cluster.
        names: one name per row; by default the cluster's index.

    Shapes:
        ``latents[l] (N, Z_l)``, ``draws (K, N, Z_level)``.

    Raises:
        InputError: If there is no such level, or the model's data are not images.
    """
    if not 0 <= level < len(latents):
        raise InputError(f"level is {level}: expected 0 to {len(latents) - 1}, the levels that latents holds")
    rows = [decode(*latents[:level], each, *latents[level + 1 :]) for each in draws]
    columns, height = len(rows[0]), rows[0].shape[-2]
    figure = Figure(figsize=(0.5 * columns + 0.8, 0.5 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(tiled(torch.cat(rows), columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_anchor("W")  # since the layout leaves too little space for names beside a centered image
    axes.set_xticks([])
    labels = names or [str(row) for row in range(len(rows))]
    axes.set_yticks([(row + 0.5) * height - 0.5 for row in range(len(rows))], labels)
    return figure


def tiled(images: Tensor, columns: int) -> Tensor:
    """Images tiled row by row into one image."""
    pictures = torch.stack(as_pictures(images)).unflatten(0, (-1, columns))  # (rows, columns, H, W) or (..., 3)
    return pictures.transpose(1, 2).flatten(2, 3).flatten(0, 1)
