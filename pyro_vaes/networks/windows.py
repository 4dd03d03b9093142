"""Windows of preceding pixels, and their division among the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyro_vaes.errors import InputError
from pyro_vaes.validation import check_whole


class Reach(NamedTuple):
    """Numbers of rows and columns around a pixel that a layer sees."""

    above: int
    left: int
    right: int


def checked_window(event_shape: Sequence[int], window: Sequence[int] | None) -> tuple[int, int]:
    """Width A and height B of a window, by default that of all preceding pixels, A = 2 W - 1 and B = H - 1.

    Raises:
        InputError: If the window is no pair, too small, or larger than the image.

    Example:
        >>> checked_window((1, 28, 28), None), checked_window((1, 28, 28), (7, 4))
        ((55, 27), (7, 4))
    """
    largest = 2 * event_shape[2] - 1, event_shape[1] - 1
    if min(event_shape[1:]) < 2:
        raise InputError(f"event_shape is {tuple(event_shape)}: PixelCNN needs 2 rows and 2 columns or more")
    if window is None:
        return largest
    if len(window) != 2:
        raise InputError(f"window is {tuple(window)}: expected (width, height), such as (7, 4)")
    check_whole("the window's width", window[0], least=2)
    check_whole("the window's height", window[1])
    if window[0] > largest[0] or window[1] > largest[1]:
        raise InputError(
            f"the window {format_window(window)} is too large for an image of {event_shape[1]} x {event_shape[2]}: at "
            f"most {largest[0]} wide, which reaches every column from every other, and {largest[1]} high"
        )
    return window[0], window[1]


def divide_window(window: tuple[int, int], layers: int) -> list[Reach]:
    """The reach of each layer, nearly equal, the larger ones first, such that all together see the window.

    Example:
        >>> divide_window((7, 4), layers=3)
        [Reach(above=2, left=1, right=1), Reach(above=1, left=1, right=1), Reach(above=1, left=1, right=1)]
    """
    left = window[0] // 2
    totals = window[1], left, window[0] - 1 - left
    return [Reach(*((total + layers - 1 - layer) // layers for total in totals)) for layer in range(layers)]


def format_window(window: Sequence[int]) -> str:
    """Width and height in words.

    Example:
        >>> format_window((7, 4))
        '7 x 4'
    """
    return f"{window[0]} x {window[1]}"
