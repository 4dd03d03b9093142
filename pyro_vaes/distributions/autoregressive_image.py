"""Autoregressive distributions over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.utils import parametrize

from pyro_vaes.distributions.base import BatchedDistribution
from pyro_vaes.distributions.discretized_logistic import UniformGrid
from pyro_vaes.distributions.pixel_heads import Head
from pyro_vaes.networks.autoregressive import AutoregressiveNetwork

MAX_BATCH = 512  # the hidden units of larger batches exceed a CPU's caches, which is three times slower


class AutoregressiveImage(BatchedDistribution):
    """Autoregressive distribution over images, conditioned on feature maps.

    Args:
        features: feature maps, ``(..., F, H, W)``.
        network: maps the preceding pixels and the features to hidden units at each pixel.
        head: distribution of a pixel given its hidden units.
        validate_args: whether torch checks the arguments.

    Shapes:
        Batch shape ``(...)``, event shape ``(C, H, W)``.
    """

    arg_constraints = {"features": constraints.independent(constraints.real, 3)}  # noqa: RUF012  (torch's own form)

    def __init__(
        self, features: Tensor, network: AutoregressiveNetwork, head: Head, validate_args: bool | None = None
    ) -> None:
        self.features, self.network, self.head = features, network, head
        super().__init__(features.shape[:-3], network.event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """Images of gray levels r / (L - 1)."""
        return constraints.independent(UniformGrid(self.head.num_bins), 3)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution, broadcast to another batch shape."""
        new = super().expand(batch_shape, _instance)
        new.network, new.head = self.network, self.head
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats, by one pass of the network for every ``MAX_BATCH`` images."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-3], self.batch_shape)
        x = value.expand(shape + self.event_shape).reshape(-1, *self.event_shape)
        passes = zip(x.split(MAX_BATCH), self._features(shape).split(MAX_BATCH), strict=True)
        return torch.cat([self._log_prob(*each) for each in passes]).reshape(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size(), progress: bool = False) -> Tensor:
        """Draws, pixel by pixel; ``progress`` shows a progress bar."""
        shape = torch.Size(sample_shape) + self.batch_shape
        with parametrize.cached():  # normalized weights, the same for every pixel
            x = self.network.generate(self._features(shape), self.head.draw, progress)
        return x.reshape(shape + self.event_shape)

    def _log_prob(self, x: Tensor, features: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` and features ``(N, F, H, W)`` to log-probabilities ``(N,)``."""
        hidden = self.network(x, features)
        return self.head.log_prob(hidden, x.movedim(1, -1)).sum((-2, -1))

    def _features(self, shape: Sequence[int]) -> Tensor:
        maps = self.features.shape[-3:]
        return self.features.expand(*shape, *maps).reshape(-1, *maps)
