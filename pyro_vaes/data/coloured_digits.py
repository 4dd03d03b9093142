"""Colored digits: images whose generative factors are known and independent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_vaes.data.arrays import as_images
from pyro_vaes.data.conversion import as_numpy
from pyro_vaes.data.split import CHUNK
from pyro_vaes.errors import InputError

#: Columns of the labels of colored digits.
FACTORS = ("digit", "ink", "background", "thickness")


# Bright on dark, so that every ink is visible on every background.
INKS = {
    "red": (255, 80, 70),
    "yellow": (250, 225, 70),
    "green": (90, 225, 90),
    "cyan": (80, 210, 250),
    "violet": (225, 120, 250),
}


BACKGROUNDS = {
    "maroon": (105, 15, 20),
    "olive": (85, 75, 0),
    "dark green": (0, 85, 35),
    "navy": (15, 25, 115),
    "black": (10, 10, 10),
}


THICKNESSES = ("thin", "normal", "thick")


JITTER = 10  # maximum deviation of a channel, of 255: less than half the distance between any two colors


SIDE = 20  # in smaller images strokes change in proportion, since they would otherwise vanish or fill up


def coloured(images: object, digits: object, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Colored digits on a colored background, with strokes of three thicknesses.

    Ink, background and thickness are drawn uniformly, independently of each other and of the digit. With the stroke
    s in [0, 1], a pixel is (1 - s) background + s ink. Grayscale dilation moves the outline of a thick stroke outward
    by one pixel, and erosion that of a thin one inward by half a pixel, both by less in images smaller than 20 pixels:
    thickness is relative to that of the original digit. Each channel of an image's ink and background deviates from
    the palette by at most 10 of 255.

    Args:
        images: grayscale images, uint8, 255 for full ink.
        digits: their labels, integers.
        seed: seed of the factors and of the deviations from the palette.

    Shapes:
        images ``(N, H, W)`` or ``(N, 1, H, W)``, digits ``(N,)``.

    Returns:
        Images ``(N, 3, H, W)``, uint8, and labels ``(N, 4)``, int64, in the order of ``FACTORS``: digit, ink (an index
        into ``INKS``), background (into ``BACKGROUNDS``) and thickness (into ``THICKNESSES``).

    Raises:
        InputError: If the images are not grayscale and uint8, or the digits are not one integer per image.

    References:
        Morpho-MNIST: Quantitative Assessment and Diagnostics for Representation Learning (Castro et al., 2019) for
        thinned and thickened digits as a known factor.

    Example:
        >>> images, labels = coloured(np.zeros((5, 8, 8), dtype=np.uint8), np.arange(5))
        >>> images.shape, labels[:, 0].tolist()
        ((5, 3, 8, 8), [0, 1, 2, 3, 4])
    """
    gray, digits = as_images(images, "images", "first"), as_numpy(digits, "digits")
    if gray.dtype != torch.uint8 or gray.dim() != 4 or gray.shape[1] != 1:
        kind, shape = str(gray.dtype).removeprefix("torch."), tuple(gray.shape)
        raise InputError(
            f"images are {kind} of shape {shape}: expected grayscale uint8 images, (N, H, W) or (N, 1, H, W)"
        )
    if digits.shape != (len(gray),) or digits.dtype.kind not in "iu":
        raise InputError(
            f"digits are {digits.dtype} of shape {digits.shape}: expected an integer for each of the {len(gray)} images"
        )
    rng = np.random.default_rng(seed)
    ink, background, thickness = (rng.integers(len(each), size=len(gray)) for each in (INKS, BACKGROUNDS, THICKNESSES))
    factors = (_colors(INKS, ink, rng), _colors(BACKGROUNDS, background, rng), torch.from_numpy(thickness))
    batches = zip(*(each.split(CHUNK) for each in (gray, *factors)), strict=True)
    painted = torch.cat([_paint(*batch) for batch in batches])
    return painted.numpy(), np.stack([digits, ink, background, thickness], axis=1).astype(np.int64)


def _colors(palette: dict[str, tuple[int, int, int]], index: np.ndarray, rng: np.random.Generator) -> Tensor:
    """One color per image, ``(N, 3, 1, 1)``."""
    exact = np.array(list(palette.values()))[index]
    jittered = exact + rng.integers(-JITTER, JITTER + 1, size=exact.shape)
    return torch.from_numpy(jittered.clip(0, 255))[..., None, None].float()


def _paint(gray: Tensor, ink: Tensor, background: Tensor, thickness: Tensor) -> Tensor:
    stroke = _with_thickness(gray.float() / 255, thickness)
    return background.lerp(ink, stroke).round().to(torch.uint8)


def _with_thickness(stroke: Tensor, thickness: Tensor) -> Tensor:
    """Strokes ``(N, 1, H, W)``, each thinned, unchanged or thickened."""
    share = min(1.0, min(stroke.shape[-2:]) / SIDE)
    result = stroke.clone()
    for name, move in (("thin", _erode), ("thick", _dilate)):
        chosen = thickness == THICKNESSES.index(name)
        if chosen.any():  # pooling refuses empty batches, and is three times as fast over images as the last channels
            coarse = stroke[chosen].movedim(0, 1).contiguous(memory_format=torch.channels_last)
            moved = F.avg_pool2d(move(F.interpolate(coarse, scale_factor=2, mode="bilinear")), 2)
            result[chosen] = stroke[chosen].lerp(moved.movedim(1, 0), share)
    return result


def _erode(fine: Tensor) -> Tensor:
    return -F.max_pool2d(-fine, 3, stride=1, padding=1)


def _dilate(fine: Tensor) -> Tensor:
    return F.max_pool2d(fine, 5, stride=1, padding=2)
