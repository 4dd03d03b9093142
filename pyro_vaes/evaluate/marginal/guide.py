"""The density of a guide over all latents in one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.evaluate.marginal import traced
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.traces import total


class GuideDensity:
    """q(z | x) of a guide for the batch of a target.

    Args:
        guide: the guide, one of the library's or any Pyro guide.
        target: the target.

    Shapes:
        ``z (S, B, Z)``.

    Example:
        >>> from pyro_vaes.evaluate.marginal.target import ModelTarget
        >>> q = GuideDensity(guide, ModelTarget(vae, x))
        >>> q.log_prob(q.sample(5)).shape
        torch.Size([5, 4])
    """

    @torch.no_grad()
    def __init__(self, guide: Callable[..., Any], target: Target) -> None:
        self.guide, self.x, self.sizes = guide, target.x, target.sizes
        self.posteriors = _posteriors(guide, target.x)

    @torch.no_grad()
    def sample(self, num_draws: int) -> Tensor:
        """Draws, ``(S, B, Z)``."""
        if self.posteriors is None:
            return traced.draws(self.guide, self.x, num_draws, self.sizes)
        return torch.cat([q.sample((num_draws,)) for q in self.posteriors], -1)

    @torch.no_grad()
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z | x), ``(S, B)``."""
        if self.posteriors is None:
            return total(traced.log_densities(self.guide, self.x, z, self.sizes).values())
        parts = zip(self.posteriors, z.split(list(self.sizes.values()), -1), strict=True)
        return total(q.log_prob(value) for q, value in parts)


def _posteriors(guide: Any, x: Tensor) -> list[Any] | None:
    """The distributions of the latents, in the order of the sites; None where they only have traces."""
    if hasattr(guide, "posterior"):
        return [guide.posterior(x)]
    return guide.posteriors(x) if hasattr(guide, "posteriors") else None
