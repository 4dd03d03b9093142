"""Mixtures of independent normal distributions with reparameterized draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vaes.distributions.base import BatchedDistribution


class NormalMixture(BatchedDistribution):
    """Mixture Σ αₘ N(μₘ, diag σₘ²) with exact density and reparameterized draws.

    Draws are differentiated implicitly, one dimension after another: with F the distribution function of z_d given
    z_<d, which is constant along a draw, dz_d = -dF / p(z_d | z_<d).

    Args:
        logits: logarithms of the weights α, up to a constant.
        locs: means μ of the M components.
        scales: standard deviations σ of the components.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``logits (..., M)``, ``locs`` and ``scales (..., M, Z)``; batch shape ``(...)``, event shape ``(Z,)``.

    References:
        Implicit Reparameterization Gradients (Figurnov, Mohamed, Mnih, 2018).

    Example:
        >>> q = NormalMixture(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
        >>> q.mean, q.log_prob(torch.zeros(1))
        (tensor([0.]), tensor(-1.4189))
    """

    arg_constraints = {  # noqa: RUF012  (torch's own form)
        "logits": constraints.real_vector,
        "locs": constraints.independent(constraints.real, 2),
        "scales": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, locs: Tensor, scales: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits.log_softmax(-1)
        self.locs, self.scales = locs, scales
        super().__init__(logits.shape[:-1], locs.shape[-1:], validate_args=validate_args)

    @property
    def _normals(self) -> tuple[Tensor, Tensor]:
        return self.locs, self.scales

    @property
    def mean(self) -> Tensor:
        """Σ αₘ μₘ, shape ``(..., Z)``."""
        return (self.logits.exp().unsqueeze(-1) * self.locs).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Marginal variances, shape ``(..., Z)``."""
        second = (self.logits.exp().unsqueeze(-1) * (self.locs.square() + self.scales.square())).sum(-2)
        return second - self.mean.square()

    def component_log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each component in nats: ``(..., Z)`` to ``(..., M)``."""
        white = (value.unsqueeze(-2) - self.locs) / self.scales
        return -0.5 * white.square().sum(-1) - self.scales.log().sum(-1) - 0.5 * len(self) * math.log(2 * math.pi)

    def __len__(self) -> int:
        return self.event_shape[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return (self.logits + self.component_log_prob(value)).logsumexp(-1)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws with implicit reparameterization gradients."""
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            index = dist.Categorical(logits=self.logits).expand(shape).sample()[..., None, None]
            index = index.expand(*shape, 1, len(self))
            loc, scale = (each.expand(shape + each.shape[-2:]).gather(-2, index)[..., 0, :] for each in self._normals)
            draw = loc + scale * torch.randn_like(loc)
        if not any(value.requires_grad for value in (self.logits, *self._normals)):
            return draw
        return self._with_gradient(draw)

    def _with_gradient(self, draw: Tensor) -> Tensor:
        """A draw with its implicit gradient in the parameters and the same value."""
        dimensions: list[Tensor] = []
        log_weights = self.logits  # of the components given the preceding dimensions
        for z, loc, scale in zip(draw.unbind(-1), self.locs.unbind(-1), self.scales.unbind(-1), strict=True):
            white = (z.unsqueeze(-1) - loc) / scale
            weights = log_weights.softmax(-1)
            cumulative = (weights * torch.special.ndtr(white)).sum(-1)
            density = (weights * torch.exp(-0.5 * white.square()) / scale).sum(-1) / math.sqrt(2 * math.pi)
            z = z - (cumulative - cumulative.detach()) / density.detach().clamp_min(torch.finfo(z.dtype).tiny)
            log_weights = log_weights - 0.5 * ((z.unsqueeze(-1) - loc) / scale).square() - scale.log()
            dimensions.append(z)
        return torch.stack(dimensions, -1)
