"""The density of a guide over all latents in one vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.marginal import traced
from pyro_vaes.evaluate.marginal.target import Target
from pyro_vaes.models.sequential_guide import SequentialGuide
from pyro_vaes.traces import total
from pyro_vaes.vae import Guide


class GuideDensity:
    """q(z | x) of a guide for the batch of a target.

    Args:
        guide: the guide, one of the library's or any Pyro guide.
        target: the target.

    Shapes:
        ``z (S, B, Z)``.

    Raises:
        InputError: If a latent of the guide is discrete, or its latents are not those of the target.

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
            drawn = traced.draws(self.guide, self.x, num_draws)
        else:
            drawn = {name: q.sample((num_draws,)) for name, q in self.posteriors.items()}
        if (given := {name: value.shape[-1] for name, value in drawn.items()}) != self.sizes:
            raise InputError(
                f"the model's latents and their sizes are {self.sizes}, but the guide samples {given}: "
                "name every latent site the same in both"
            )
        return torch.cat([drawn[name] for name in self.sizes], -1)

    @torch.no_grad()
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z | x), ``(S, B)``; a density that overflows, far out in the tails of a flow, is 0."""
        if self.posteriors is None:
            log_probs = traced.log_densities(self.guide, self.x, z, self.sizes)
        else:
            values = zip(self.sizes, z.split(list(self.sizes.values()), -1), strict=True)
            log_probs = {name: self.posteriors[name].log_prob(value) for name, value in values}
        return total(log_probs.values()).nan_to_num(nan=-math.inf, neginf=-math.inf)


def _posteriors(guide: Any, x: Tensor) -> dict[str, TorchDistribution] | None:
    """The independent distributions of the latents by site; None for a guide that has traces only."""
    return guide.posteriors(x) if isinstance(guide, Guide) and not isinstance(guide, SequentialGuide) else None
