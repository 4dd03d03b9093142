"""Mixtures of Student-t distributions, the proposals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

DEGREES = 8.0  # of freedom: tails heavier than a normal's, a covariance that exists


@dataclass(frozen=True)
class StudentMixture:
    """Σₘ πₘ t(z; μₘ, Lₘ Lₘᵀ) of each of B observations, with 8 degrees of freedom.

    Pyro's ``MultivariateStudentT`` solves one small system per draw and component; here each observation's draws
    are one right-hand side, which is many times as fast.

    Attributes:
        log_weights: log πₘ, shape ``(B, M)``; -inf where an observation has fewer components.
        loc: μₘ, shape ``(B, M, Z)``.
        scale_tril: Lₘ, shape ``(B, M, Z, Z)``.
    """

    log_weights: Tensor
    loc: Tensor
    scale_tril: Tensor

    def sample(self, num_draws: int) -> Tensor:
        """Draws, ``(S, B, Z)``; the components' shares of them are as equal to π as whole numbers allow."""
        batch, components, size = self.loc.shape
        edges = self.log_weights.exp().cumsum(-1)[:, :-1].contiguous()
        positions = (torch.arange(num_draws).to(edges) + torch.rand(batch, 1).to(edges)) / num_draws
        component = torch.searchsorted(edges, positions, right=True).T
        chi_square = torch.distributions.Chi2(self.loc.new_tensor(DEGREES)).sample((num_draws, batch, 1))
        noise = torch.randn(num_draws, batch, size).to(self.loc) * (DEGREES / chi_square).sqrt()
        z = torch.empty_like(noise)
        for m in range(components):
            drawn = self.loc[:, m] + torch.einsum("bij,sbj->sbi", self.scale_tril[:, m], noise)
            z = torch.where((component == m).unsqueeze(-1), drawn, z)
        return z

    def log_components(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log πₘ t(z; μₘ, Lₘ Lₘᵀ) and log πₘ N(z; μₘ, Lₘ Lₘᵀ), ``(S, B, M)`` each."""
        size = self.loc.shape[-1]
        squared = torch.stack([self._squared_distance(z, m) for m in range(self.loc.shape[1])], -1)
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        start = self.log_weights - log_det
        total = DEGREES + size
        constant = math.lgamma(total / 2) - math.lgamma(DEGREES / 2) - 0.5 * size * math.log(DEGREES * math.pi)
        student = start + constant - 0.5 * total * (squared / DEGREES).log1p()
        return student, start - 0.5 * (squared + size * math.log(2 * math.pi))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, ``(S, B)``."""
        return self.log_components(z)[0].logsumexp(-1)

    def take(self, index: Tensor) -> StudentMixture:
        """The mixtures of some observations."""
        return StudentMixture(self.log_weights[index], self.loc[index], self.scale_tril[index])

    def put(self, index: Tensor, part: StudentMixture) -> None:
        """Replace the mixtures of some observations."""
        self.log_weights[index], self.loc[index], self.scale_tril[index] = part.log_weights, part.loc, part.scale_tril

    def _squared_distance(self, z: Tensor, component: int) -> Tensor:
        """‖Lₘ⁻¹ (z - μₘ)‖², ``(S, B)``."""
        deviation = (z - self.loc[:, component]).permute(1, 2, 0)
        white = torch.linalg.solve_triangular(self.scale_tril[:, component], deviation, upper=False)
        return white.square().sum(1).T
