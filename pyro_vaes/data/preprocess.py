"""Preprocessing: the map from stored pixels to a model's input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vaes.data.missing import is_missing
from pyro_vaes.data.pixel_transform import IDENTITY, PixelTransform
from pyro_vaes.errors import unknown

BINARIZATIONS = ("dynamic", "static", "threshold")


@dataclass(frozen=True)
class Preprocessing:
    """The map from stored data to the float32 values that a model takes: of pixels, in [0, 1] but for a ``transform``.

    Data of other kinds are taken as they are. With ``num_bins`` L and a stored pixel r in {0, …, L - 1}, the intensity
    is r / (L - 1), and

    - no binarization, ``dequantize``: (r + u) / L with u uniform on [0, 1), a density on [0, 1];
    - no binarization, no ``dequantize``: the intensity itself;
    - ``"dynamic"``: a Bernoulli draw with the intensity as its probability, new at each call;
    - ``"static"``: the stored pixels, which are one such draw already;
    - ``"threshold"``: 1 where the intensity is at least a half.

    Float pixels are their own intensity, and are not dequantized.

    Args:
        binarize: None, ``"dynamic"``, ``"static"`` or ``"threshold"``.
        dequantize: whether uniform noise is added to integer pixels that are not binarized.
        num_bins: number of gray levels of integer pixels; None for float pixels and other kinds of data.
        transform: map of these values to those that the model takes; the identity by default.
        kind: name of the kind of data, one of ``pyro_vaes.data.kinds``.
        missing: whether values are missing, which are marked in the stored data and NaN in those that a model takes.

    Raises:
        InputError: If ``binarize`` is unknown.

    Example:
        >>> pixels = torch.tensor([[0, 8, 16]], dtype=torch.uint8)
        >>> Preprocessing("threshold", num_bins=17)(pixels)
        tensor([[0., 1., 1.]])
        >>> (Preprocessing(num_bins=17)(pixels, torch.Generator().manual_seed(0)) * 17).floor()
        tensor([[ 0.,  8., 16.]])
    """

    binarize: str | None = None
    dequantize: bool = True
    num_bins: int | None = 256
    transform: PixelTransform = IDENTITY
    kind: str = "pixels"
    missing: bool = False

    def __post_init__(self) -> None:
        if self.binarize is not None and self.binarize not in BINARIZATIONS:
            raise unknown("binarization", str(self.binarize), BINARIZATIONS)

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Preprocess a batch of stored pixels.

        Args:
            pixels: integers in {0, …, num_bins - 1}, or floats in [0, 1]; or data of another kind.
            generator: generator of the noise, on the device of ``pixels``; torch's global one if None.

        Shapes:
            pixels: ``(B, *event_shape)``; result: the same, float32.
        """
        x = self.transform(self._values(pixels, generator))
        return torch.where(is_missing(pixels), torch.nan, x) if self.missing else x

    def _values(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Values in [0, 1]."""
        num_bins = None if pixels.is_floating_point() else self.num_bins
        if num_bins is not None and self.dequantize and self.binarize is None:
            # The factor keeps pixels + noise below pixels + 1, since float32 would round 255.999999 up to 256.
            return _uniform(pixels, generator).mul_(1 - num_bins * 2**-24).add_(pixels).div_(num_bins)
        intensity = pixels.to(torch.float32)
        if num_bins is not None:
            intensity = intensity / (num_bins - 1)
        if self.binarize == "dynamic":
            return (_uniform(pixels, generator) < intensity).to(torch.float32)
        if self.binarize == "threshold":
            return (intensity >= 0.5).to(torch.float32)
        return intensity

    def describe(self) -> str:
        """Description of the preprocessing, for reports.

        Example:
            >>> Preprocessing().describe(), Preprocessing(num_bins=None, kind="counts").describe()
            ('dequantized with uniform noise (256 bins)', 'counts, as given')
        """
        return self._describe_values() + self.transform.describe()

    def _describe_values(self) -> str:
        if self.kind != "pixels":
            return f"{self.kind}, as given"
        if self.binarize == "dynamic":
            return "dynamically binarized (a new Bernoulli draw of each pixel in each training batch)"
        if self.binarize == "static":
            return "statically binarized (one Bernoulli draw of each pixel, kept)"
        if self.binarize == "threshold":
            return "binarized at a threshold of 0.5"
        if self.num_bins is None:
            return "float data as given"
        if self.dequantize:
            return f"dequantized with uniform noise ({self.num_bins} bins)"
        return f"scaled to [0, 1] without dequantization ({self.num_bins} bins)"


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)
