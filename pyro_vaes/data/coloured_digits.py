"""Coloured digits: images whose factors are known and independent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_vaes.data.arrays import as_images
from pyro_vaes.data.split import CHUNK
from pyro_vaes.errors import InputError

#: The columns of a coloured set's labels.
FACTORS = ("digit", "ink", "background", "thickness")


# Bright against dark, so that every ink shows on every background.
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


JITTER = 10  # greatest change of a channel from image to image, of 255: less than half of what colours lie apart


SIDE = 20  # of images smaller than that, strokes change by part of what others do: they would fade or fill up


def coloured(images: object, digits: object, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey digits in colour, on a coloured background, with strokes of three thicknesses.

    Ink, background and thickness are drawn uniformly, each on its own and whatever the digit. With the stroke
    s in [0, 1], a pixel is (1 - s) background + s ink. The outline of a thick stroke is moved out by a pixel (grey
    dilation) and that of a thin one in by half a pixel (erosion), less in images of under 20 pixels a side: thickness
    is relative to that of the digit as written. Each of an image's two colours lies within 10 of 255, in each
    channel, of the one in its palette.

    Args:
        images: grey images, uint8, 255 where there is most ink.
        digits: their labels, integers.
        seed: fixes the factors and the colours' changes.

    Shapes:
        images ``(N, H, W)`` or ``(N, 1, H, W)``, digits ``(N,)``.

    Returns:
        Images ``(N, 3, H, W)``, uint8, and labels ``(N, 4)``, int64, in the order of ``FACTORS``: digit, ink (a place
        in ``INKS``), background (in ``BACKGROUNDS``) and thickness (in ``THICKNESSES``).

    Raises:
        InputError: where the images are not grey and uint8, or the digits are not one integer an image.

    References:
        Morpho-MNIST: Quantitative Assessment and Diagnostics for Representation Learning (Castro et al., 2019) for
        thinned and thickened digits as a known factor.

    Example:
        >>> images, labels = coloured(np.zeros((5, 8, 8), dtype=np.uint8), np.arange(5))
        >>> images.shape, labels[:, 0].tolist()
        ((5, 3, 8, 8), [0, 1, 2, 3, 4])
    """
    grey, digits = as_images(images, "images"), np.asarray(digits)
    if grey.dtype != torch.uint8 or grey.dim() != 4 or grey.shape[1] != 1:
        kind, shape = str(grey.dtype).removeprefix("torch."), tuple(grey.shape)
        raise InputError(f"images are {kind} of shape {shape}: expected grey uint8 images, (N, H, W) or (N, 1, H, W)")
    if digits.shape != (len(grey),) or digits.dtype.kind not in "iu":
        raise InputError(
            f"digits are {digits.dtype} of shape {digits.shape}: expected an integer for each of the {len(grey)} images"
        )
    rng = np.random.default_rng(seed)
    ink, background, thickness = (rng.integers(len(each), size=len(grey)) for each in (INKS, BACKGROUNDS, THICKNESSES))
    factors = (_colours(INKS, ink, rng), _colours(BACKGROUNDS, background, rng), torch.from_numpy(thickness))
    batches = zip(*(each.split(CHUNK) for each in (grey, *factors)), strict=True)
    painted = torch.cat([_paint(*batch) for batch in batches])
    return painted.numpy(), np.stack([digits, ink, background, thickness], axis=1).astype(np.int64)


def _colours(palette: dict[str, tuple[int, int, int]], index: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A colour an image, ``(N, 3, 1, 1)``."""
    exact = np.array(list(palette.values()))[index]
    jittered = exact + rng.integers(-JITTER, JITTER + 1, size=exact.shape)
    return torch.from_numpy(jittered.clip(0, 255))[..., None, None].float()


def _paint(grey: Tensor, ink: Tensor, background: Tensor, thickness: Tensor) -> Tensor:
    stroke = _with_thickness(grey.float() / 255, thickness)
    return background.lerp(ink, stroke).round().to(torch.uint8)


def _with_thickness(stroke: Tensor, thickness: Tensor) -> Tensor:
    """Strokes ``(N, 1, H, W)``, each thin, as it was, or thick."""
    share = min(1.0, min(stroke.shape[-2:]) / SIDE)
    result = stroke.clone()
    for name, move in (("thin", _erode), ("thick", _dilate)):
        chosen = thickness == THICKNESSES.index(name)
        if chosen.any():  # pooling takes no empty batch, and is three times as fast with images as last channels
            coarse = stroke[chosen].movedim(0, 1).contiguous(memory_format=torch.channels_last)
            moved = F.avg_pool2d(move(F.interpolate(coarse, scale_factor=2, mode="bilinear")), 2)
            result[chosen] = stroke[chosen].lerp(moved.movedim(1, 0), share)
    return result


def _erode(fine: Tensor) -> Tensor:
    return -F.max_pool2d(-fine, 3, stride=1, padding=1)


def _dilate(fine: Tensor) -> Tensor:
    return F.max_pool2d(fine, 5, stride=1, padding=2)
