"""Multivariate normal distributions with a factored covariance, and the KL divergences that torch lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from pyro_vaes.distributions.base import BatchedDistribution


class FactoredNormal(BatchedDistribution):
    """Base class of normal distributions with a factor A of their covariance, Σ = Aᵀ A, as ``scale_factor``."""

    @property
    def scale_factor(self) -> Tensor:
        """A, shape ``(..., Z, Z)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement scale_factor")

    @property
    def covariance_matrix(self) -> Tensor:
        """Σ, shape ``(..., Z, Z)``."""
        factor = self.scale_factor
        return factor.mT @ factor

    @property
    def variance(self) -> Tensor:
        """Marginal variances, shape ``(..., Z)``."""
        return self.scale_factor.square().sum(-2)


class PrecisionNormal(FactoredNormal):
    """Normal distribution parameterized by the Cholesky factor of its precision, N(μ, (L Lᵀ)⁻¹).

    No matrix is inverted: a draw is z = μ + L⁻ᵀ ε with ε ~ N(0, I), and
    log N(z) = -‖Lᵀ(z - μ)‖² / 2 + Σ log diag L - (Z/2) log 2π, in nats.

    Args:
        loc: mean μ.
        precision_tril: lower triangular factor L of the precision, with positive diagonal.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``loc (..., Z)``, ``precision_tril (..., Z, Z)``; batch shape ``(...)``, event shape ``(Z,)``.

    Example:
        >>> q = PrecisionNormal(torch.zeros(2), torch.diag(torch.tensor([1.0, 2.0])))
        >>> q.covariance_matrix
        tensor([[1.0000, 0.0000],
                [0.0000, 0.2500]])
    """

    arg_constraints = {  # noqa: RUF012  (torch's own form)
        "loc": constraints.real_vector,
        "precision_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, precision_tril: Tensor, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], precision_tril.shape[:-2])
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.precision_tril = precision_tril.expand(batch_shape + precision_tril.shape[-2:])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """μ, shape ``(..., Z)``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """μ, shape ``(..., Z)``."""
        return self.loc

    @property
    def scale_factor(self) -> Tensor:
        """L⁻¹, a factor of the covariance: Σ = (L⁻¹)ᵀ L⁻¹; shape ``(..., Z, Z)``."""
        identity = torch.eye(self.event_shape[0], dtype=self.loc.dtype, device=self.loc.device)
        return torch.linalg.solve_triangular(self.precision_tril, identity, upper=False)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Reparameterized draws z = μ + L⁻ᵀ ε."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        shift = torch.linalg.solve_triangular(self.precision_tril.mT, noise.unsqueeze(-1), upper=True)
        return self.loc + shift.squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        white = ((value - self.loc).unsqueeze(-2) @ self.precision_tril).squeeze(-2)
        return -0.5 * white.square().sum(-1) + self._log_normalizer()

    def entropy(self) -> Tensor:
        """Differential entropy in nats."""
        return 0.5 * self.event_shape[0] - self._log_normalizer()

    def _log_normalizer(self) -> Tensor:
        log_diagonal = self.precision_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_diagonal - 0.5 * self.event_shape[0] * math.log(2 * math.pi)


class ReflectedNormal(FactoredNormal):
    """Independent normals reflected in K hyperplanes through the origin, z = H_K … H₁ z₀ with z₀ ~ N(μ, diag σ²).

    Hₖ = I - 2 uₖ uₖᵀ with uₖ = vₖ / ‖vₖ‖. Reflections preserve volume and are their own inverses, so log q(z) is
    log N(H₁ … H_K z; μ, diag σ²), in nats. Reflections are applied to vectors; no product of matrices is formed.

    Args:
        loc: mean μ of z₀.
        scale: standard deviations σ of z₀.
        vectors: normals vₖ of the hyperplanes in the order of the reflections, of any nonzero length.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``loc (..., Z)``, ``scale (..., Z)``, ``vectors (..., K, Z)``; batch shape ``(...)``, event shape ``(Z,)``.

    Example:
        >>> q = ReflectedNormal(torch.tensor([1.0, 2.0]), torch.ones(2), torch.tensor([[3.0, 0.0]]))
        >>> q.mean, q.log_prob(q.mean)
        (tensor([-1.,  2.]), tensor(-1.8379))
    """

    arg_constraints = {  # noqa: RUF012  (torch's own form)
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "vectors": constraints.independent(constraints.real, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, vectors: Tensor, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], scale.shape[:-1], vectors.shape[:-2])
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.scale = scale.expand(batch_shape + loc.shape[-1:])
        self.vectors = vectors.expand(batch_shape + vectors.shape[-2:])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def reflect(self, z: Tensor) -> Tensor:
        """H_K … H₁ z, shape ``(..., Z)``."""
        return _reflect(z, self.vectors.unbind(-2))

    def unreflect(self, z: Tensor) -> Tensor:
        """H₁ … H_K z, the inverse of :meth:`reflect`."""
        return _reflect(z, self.vectors.unbind(-2)[::-1])

    @property
    def mean(self) -> Tensor:
        """H_K … H₁ μ, shape ``(..., Z)``."""
        return self.reflect(self.loc)

    @property
    def scale_factor(self) -> Tensor:
        """The rows σᵢ H_K … H₁ eᵢ, a factor A of the covariance: Σ = Aᵀ A; shape ``(..., Z, Z)``."""
        return _reflect(torch.diag_embed(self.scale), self.vectors.unsqueeze(-3).unbind(-2))

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Reparameterized draws z = H_K … H₁ (μ + σ ε)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.reflect(self.loc + self.scale * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        white = (self.unreflect(value) - self.loc) / self.scale
        return 0.5 * (self.event_shape[0] - white.square().sum(-1)) - self.entropy()

    def entropy(self) -> Tensor:
        """Differential entropy in nats, that of z₀."""
        return self.scale.log().sum(-1) + 0.5 * self.event_shape[0] * (1 + math.log(2 * math.pi))


def _reflect(z: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    for vector in vectors:
        unit = torch.nn.functional.normalize(vector, dim=-1)
        z = z - 2 * (unit * z).sum(-1, keepdim=True) * unit
    return z


@register_kl(torch.distributions.MultivariateNormal, torch.distributions.Independent)
@register_kl(torch.distributions.LowRankMultivariateNormal, torch.distributions.Independent)
@register_kl(FactoredNormal, torch.distributions.Independent)
def _kl_normal_independent(q: torch.distributions.Distribution, p: torch.distributions.Independent) -> Tensor:
    """KL(normal with a full covariance ‖ independent normal) in nats.

    Without this rule ``TraceMeanField_ELBO`` would silently sample.
    """
    base = p.base_dist
    if not isinstance(base, torch.distributions.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    deviation = (q.mean - base.loc).square() + q.variance
    cross_entropy = 0.5 * (deviation / base.variance + 2 * base.scale.log() + math.log(2 * math.pi)).sum(-1)
    return cross_entropy - q.entropy()


@register_kl(torch.distributions.Independent, PrecisionNormal)
def _kl_independent_precision(q: torch.distributions.Independent, p: PrecisionNormal) -> Tensor:
    """KL(independent normal ‖ normal with a full precision) in nats."""
    base = q.base_dist
    if not isinstance(base, torch.distributions.Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    white = ((base.loc - p.loc).unsqueeze(-2) @ p.precision_tril).squeeze(-2)
    trace = (p.precision_tril.square().sum(-1) * base.variance).sum(-1)
    return 0.5 * (white.square().sum(-1) + trace) - p._log_normalizer() - q.entropy()
