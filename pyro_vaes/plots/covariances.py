"""Posterior covariances as pictures."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.plots.images import as_pictures


def posterior_covariances(x: Tensor, covariances: Mapping[str, Tensor]) -> Figure:
    """Each datum, and the covariance matrix of each guide's posterior of it, red above 0 and blue below.

    All matrices of a row have one scale, so that a guide's data can be compared; the guides' own are different, since
    their models may be.

    Args:
        x: the data, ``(N, *event_shape)``, drawn if they are images.
        covariances: covariances ``(N, Z, Z)`` by the guide's name, such as those of
            :func:`~pyro_vaes.evaluate.posterior_covariance`.

    Raises:
        InputError: If a guide has not one matrix for each datum.

    References:
        Variational Laplace Autoencoders (Park, Kim, Kim, ICML 2019), whose picture of them this is.

    Example:
        >>> from pyro_vaes.evaluate import posterior_covariance
        >>> from pyro_vaes.guides import FullCovariance, MeanField
        >>> guides = {"mean-field": MeanField(vae, encoder), "full-covariance": FullCovariance(vae, encoder)}
        >>> matrices = {name: posterior_covariance(guide, x) for name, guide in guides.items()}
        >>> posterior_covariances(x, matrices).axes[4].get_ylabel()
        'mean-field'
    """
    for name, each in covariances.items():
        if each.dim() != 3 or len(each) != len(x):
            raise InputError(
                f"covariances of {name} have shape {tuple(each.shape)}: expected ({len(x)}, Z, Z), one for each datum"
            )
    pictures = as_pictures(x) if x.dim() == 4 and x.shape[1] in (1, 3) else []
    rows = bool(pictures) + len(covariances)
    figure = Figure(figsize=(1.4 * len(x) + 1.2, 1.45 * rows), layout="constrained")
    table = figure.subplots(rows, len(x), squeeze=False)
    for axes in table.flat:
        axes.set(xticks=[], yticks=[])
    for axes, picture in zip(table[0], pictures, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for line, (name, matrices) in zip(table[bool(pictures) :], covariances.items(), strict=True):
        largest = float(matrices.abs().max())
        for axes, matrix in zip(line, matrices.detach().cpu(), strict=True):
            drawn = axes.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
        figure.colorbar(drawn, ax=list(line), shrink=0.8).ax.tick_params(labelsize=6)
        line[0].set_ylabel(name, fontsize=7)
    return figure
