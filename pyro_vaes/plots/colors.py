"""Colors of guides."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib import colormaps
from matplotlib.colors import to_hex

PALETTE = [to_hex(color) for name in ("tab10", "Dark2", "Set3") for color in colormaps[name].colors]  # type: ignore


def colors(names: Iterable[str]) -> dict[str, str]:
    """A color for each guide of a report, by its place, so that a guide has the same one in all pictures.

    Example:
        >>> colors(["mean-field", "laplace"])
        {'mean-field': '#1f77b4', 'laplace': '#ff7f0e'}
    """
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}
