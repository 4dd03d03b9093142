"""Pictures of imputations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes.data.pixel_transform import IDENTITY
from pyro_vaes.evaluate.impute import Imputation
from pyro_vaes.plots.images import image_grid

HIDDEN = (0.35, 0.5, 0.75)  # color of hidden pixels


@torch.no_grad()
def completions(
    imputation: Imputation,
    mask: Tensor,
    original: Tensor | None = None,
    draws: int = 3,
    as_pixels: Callable[[Tensor], Tensor] = IDENTITY.inverse,
) -> Figure:
    """Images with hidden pixels: one column each, with rows for the original, what was seen, the mean and draws.

    Args:
        imputation: of :func:`pyro_vaes.evaluate.impute`.
        mask: True where x was seen, ``(N, C, H, W)``.
        original: x with nothing hidden, if it is known.
        draws: number of imputations shown of each image.
        as_pixels: map from x to pixels in [0, 1], such as ``data.as_pixels``.

    Raises:
        InputError: If the data are not images.

    Example:
        >>> import pyro_vaes as pv
        >>> mask = torch.rand(x.shape) < 0.5
        >>> figure = completions(pv.evaluate.impute(vae, guide, x, mask), mask, x)
        >>> len(figure.axes)  # 4 images in 6 rows
        24
    """
    rows = {} if original is None else {"original": as_pixels(original.cpu())}
    mean = as_pixels(imputation.mean)
    color = mean.new_tensor(HIDDEN).view(3, 1, 1)
    rows["seen"] = torch.where(mask.cpu(), mean, color)
    rows["mean"] = mean
    rows |= {f"draw {number}": as_pixels(each) for number, each in enumerate(imputation.draws[:draws], 1)}
    return image_grid(list(rows.values()), list(rows))
