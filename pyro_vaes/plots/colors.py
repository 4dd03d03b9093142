"""Colors of guides."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

from matplotlib import colormaps
from matplotlib.colors import to_hex

_OWN, *_OTHERS = ([to_hex(color) for color in colormaps[name].colors] for name in ("tab10", "Dark2", "Set3"))  # type: ignore

#: Color of each guide of the library.
GUIDES = dict(
    zip(
        [
            "mean-field",
            "full-covariance",
            "low-rank",
            "laplace",
            "semi-amortized",
            "inverse-autoregressive-flow",
            "householder",
            "mixture",
            "recursive-mixture",
            "boosted-mixture",
        ],
        _OWN,
        strict=True,
    )
)


def colors(names: Iterable[str]) -> dict[str, str]:
    """A color for each guide of a report: a guide of the library has the same one in all pictures of all reports.

    Of several settings of one guide the first has its color; the others, and guides of one's own, have other colors by
    their place.

    Example:
        >>> colors(["laplace(updates=1)", "mean-field", "laplace(updates=4)"])
        {'laplace(updates=1)': '#d62728', 'mean-field': '#1f77b4', 'laplace(updates=4)': '#1b9e77'}
    """
    names = list(names)
    own: dict[str, str] = {}
    for name in names:
        color = GUIDES.get(name.partition("(")[0])
        if color and color not in own.values():
            own[name] = color
    others = cycle([color for palette in _OTHERS for color in palette])
    return {name: own[name] if name in own else next(others) for name in names}
