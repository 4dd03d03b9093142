"""Base class of likelihoods of several features per value of x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.validation import checked_sizes


class FeatureMaps(Likelihood):
    """Base class of likelihoods whose features are M maps of the shape of one datum.

    The maps lie one after another along the first dimension of a datum: ``(M C, H, W)`` for images ``(C, H, W)``,
    ``(M D,)`` for vectors ``(D,)``.

    Args:
        event_shape: shape of one datum.
        num_maps: number M of maps.

    Raises:
        InputError: If a size is not a positive integer; when called, if features have another shape.
    """

    features_shape: torch.Size

    def __init__(self, event_shape: Sequence[int], num_maps: int) -> None:
        super().__init__()
        event_shape, (self.num_maps,) = checked_sizes(event_shape=event_shape, num_maps=(num_maps,))
        self.features_shape = torch.Size((num_maps * event_shape[0], *event_shape[1:]))
        self.set_event_dim(len(event_shape))

    @classmethod
    def build(cls, event_shape: Sequence[int], **options: Any) -> Self:
        """The likelihood for data of this shape."""
        return cls(event_shape, **options)

    def split(self, features: Tensor) -> Tensor:
        """The maps of features ``(..., *features_shape)``, as ``(..., M, *event_shape)``.

        Raises:
            InputError: If the features have another shape.
        """
        dims = len(self.features_shape)
        if features.shape[-dims:] != self.features_shape:
            raise InputError(
                f"the decoder gives features {tuple(features.shape[-dims:])}, but this {type(self).__name__} expects "
                f"{self.num_maps} maps, {tuple(self.features_shape)}: give the decoder "
                f"event_shape={tuple(self.features_shape)}"
            )
        return features.unflatten(-dims, (self.num_maps, -1))

    def maps(self, features: Tensor) -> tuple[Tensor, ...]:
        """Each map of the features, ``(..., *event_shape)``."""
        return self.split(features).unbind(-len(self.features_shape) - 1)

    def seen(self, x: Tensor) -> Tensor:
        """Whether the value of x that a feature tells of is not missing: the same in all maps."""
        return self.join(*[~x.isnan()] * self.num_maps)

    def join(self, *maps: Tensor) -> Tensor:
        """Features ``(..., *features_shape)`` of maps ``(..., *event_shape)``."""
        return torch.cat(maps, -len(self.features_shape))
