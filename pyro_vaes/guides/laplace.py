"""The Laplace guide."""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyro_vaes.distributions.normal import PrecisionNormal
from pyro_vaes.errors import InputError
from pyro_vaes.guides.mean_field import diagonal_normal
from pyro_vaes.missing import nan_is_missing
from pyro_vaes.networks.linearize import Linearization, flat_features, gauss_newton, linear_head, linearize
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_whole

LENGTHS = 6  # of a step, 1, 0.64, 0.36, 0.16, 0.04 and 0, which a line search tries


class Laplace(Guide):
    """Laplace approximation at a mode found by damped Newton steps from the encoder's mean.

    With J the decoder's Jacobian and H the likelihood's Fisher information at μₜ::

        Λₜ   = Jᵀ H J + (prior precision)
        μₜ₊₁ = μₜ + step_size / (t + 1) · Λₜ⁻¹ ∇ log p(x, μₜ),      t = 0 … updates - 1
        q(z | x) = N(μ_T, Λ_T⁻¹)

    A single Cholesky factor of Λ is used for the solve, the draws and log q. If log p(x | features) is quadratic
    (Gaussian) and the decoder's last layer W is linear and widens, neither the D x Z Jacobian nor the features are
    formed: all steps share Wᵀ H W. Gradients flow through every solve into decoder, likelihood and encoder.

    In the warm-up of a training the guide is the mean-field one, N(μ₀, diag σ²): where the encoder is far off, the
    curvature says nothing of the posterior, and the gradient through the steps leads nowhere. In stock ``SVI``, where
    there is no warm-up, start from a trained :class:`MeanField` guide, which has the same weights.

    Args:
        vae: the model: any differentiable decoder, a likelihood with ``fisher``, a prior with ``precision``.
        encoder: any module ``x -> (..., out_features)``; it outputs μ₀, and σ for the warm-up.
        updates: number T of Newton steps; 0 keeps the encoder's mean.
        step_size: size of the first step; 1 is a full Newton step.
        detach: whether gradients stop at μ_T, a cheaper approximation in which the encoder is trained in the warm-up
            alone, and the decoder receives no gradient through the Newton steps.
        warmup: number of gradient steps of the warm-up; 0 for none, as published.
        line_search: whether the length of a step is, in place of ``step_size / (t + 1)``, the one with the highest
            log p(x, z) of several between 1 and 0, for each datum; gradients take it for a constant.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If the likelihood has no Fisher information, or an option is out of range.

    References:
        Variational Laplace Autoencoders (Park, Kim, Kim, ICML 2019).

    Example:
        >>> guide = Laplace(vae, encoder, updates=2)
        >>> guide.posterior(x).precision_tril.shape
        torch.Size([4, 2, 2])
    """

    def __init__(
        self,
        vae: VAE,
        encoder: nn.Module,
        updates: int = 4,
        step_size: float = 0.5,
        detach: bool = False,
        warmup: int = 300,
        line_search: bool = False,
    ) -> None:
        super().__init__(vae, encoder, outputs=2 * vae.latent_dim)
        check_whole("updates", updates, least=0)
        self.warmup = check_whole("warmup", warmup, least=0)
        if not step_size > 0:
            raise InputError(f"step_size is {step_size!r}: expected a positive number, 1 being a full Newton step")
        try:
            vae.likelihood.fisher(torch.zeros(1, *vae.features_shape))
        except NotImplementedError as error:
            raise InputError(f"Laplace does not support this model: {error}") from error
        self.updates = updates
        self.step_size = step_size
        self.detach = detach
        self.line_search = line_search

    @property
    def analytic_kl(self) -> bool:  # type: ignore[override]
        """Whether the posterior is still the mean-field one, which does not follow the model's."""
        return self.progress < 1

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """μ₀, and the unconstrained scale of the warm-up, together ``(..., B, 2 Z)``."""
        with self._gradients():
            return super().local_parameters(x)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ_T, Λ(μ_T)⁻¹) of the search from μ₀; in the warm-up N(μ₀, diag σ²)."""
        if self.progress < 1:
            return diagonal_normal(parameters[0])
        shared = self._shared(x)
        with self._gradients():
            mean = parameters[0][..., : self.vae.latent_dim]
            for t in range(self.updates):
                step = self._newton_step(x, mean, shared)
                mean = mean + self._length(x, mean, step, t) * step
        return PrecisionNormal(mean, self._precision_factor(x, mean, linearize(self.vae.decoder, mean), shared))

    def _gradients(self) -> contextlib.AbstractContextManager[Any]:
        """Context manager in which gradients stop, if the search is detached and the warm-up over."""
        return torch.no_grad() if self.detach and self.progress == 1 else contextlib.nullcontext()

    def _length(self, x: Tensor, mean: Tensor, step: Tensor, t: int) -> Tensor | float:
        """Length of step t: the published one, or that of the highest log p(x, z), a constant ``(..., B, 1)``."""
        if not self.line_search:
            return self.step_size / (t + 1)
        lengths = torch.linspace(1, 0, LENGTHS, dtype=mean.dtype, device=mean.device).square()
        with torch.no_grad():
            log_joint = self.vae.log_joint(x, mean + lengths.view(-1, *[1] * mean.dim()) * step)
        return lengths[log_joint.nan_to_num(nan=-math.inf).argmax(0)].unsqueeze(-1)

    def _newton_step(self, x: Tensor, mean: Tensor, shared: _Quadratic | None) -> Tensor:
        """Λ⁻¹ ∇ log p(x, μ), with its exact gradient by implicit differentiation.

        With ν the value of the solve, d(Λ⁻¹ g) = Λ⁻¹ (dg - dΛ ν), so its gradient is that of Λ⁻¹ applied to the
        residual g - Λ ν, which takes one product with J and one with Jᵀ instead of Z products.
        """
        at = linearize(self.vae.decoder, mean)
        with torch.no_grad():
            factor = self._precision_factor(x, mean, at, shared)
            start = torch.zeros_like(mean)
            step = _solve(factor, self._residual(x, mean, start, at, shared))
        if not torch.is_grad_enabled():
            return step
        return step + _solve(factor, self._residual(x, mean, step, at, shared))

    def _residual(self, x: Tensor, mean: Tensor, step: Tensor, at: Linearization, shared: _Quadratic | None) -> Tensor:
        """g - Λ ν for the gradient g of log p(x, μ) and a step ν, shape ``(..., B, Z)``."""
        prior, likelihood = self.vae.prior, self.vae.likelihood
        pushed = at.push(step)
        if shared is not None:
            change = shared.score - (at.hidden + pushed) @ shared.gram
        else:
            features = self._unflat(flat_features(at))
            slope = pushed if at.output is None else pushed @ at.output.weight.T
            change = self._flat(likelihood.seen_score(features, x)) - self._fisher(features, x) * slope
            change = change if at.output is None else change @ at.output.weight
        return at.pull(change) + prior.score(mean) - (prior.precision(mean) @ step.unsqueeze(-1)).squeeze(-1)

    def _precision_factor(self, x: Tensor, mean: Tensor, at: Linearization, shared: _Quadratic | None) -> Tensor:
        """Cholesky factor of Λ = Jᵀ H J + prior precision, broadcastable to ``(..., B, Z, Z)``."""
        if shared is not None:
            curvature = _QuadraticForm.apply(at.transposed(), shared.gram)
        else:
            curvature = gauss_newton(at, lambda features: self._fisher(self._unflat(features), x))
        # cholesky_ex, since cholesky synchronizes the host with the device
        return torch.linalg.cholesky_ex(curvature + self.vae.prior.precision(mean)).L

    def _shared(self, x: Tensor) -> _Quadratic | None:
        """Quantities shared by all steps, if log p(x | features) is quadratic and the last layer W widens.

        They are shared by all data too, so that there are none where the data differ in what is missing.
        """
        head, likelihood = linear_head(self.vae.decoder), self.vae.likelihood
        if head is None or not likelihood.quadratic or head.out_features < head.in_features or nan_is_missing():
            return None
        flat: Tensor = torch.zeros_like(head.weight[:, 0]) if head.bias is None else head.bias
        bias = flat.view(self.vae.features_shape)
        fisher = likelihood.fisher(bias).flatten()
        gram = head.weight.T @ (fisher.unsqueeze(-1) * head.weight)
        return _Quadratic(gram, self._flat(likelihood.score(bias, x)) @ head.weight)

    def _fisher(self, features: Tensor, x: Tensor) -> Tensor:
        return self._flat(self.vae.likelihood.seen_fisher(features, x))

    def _unflat(self, features: Tensor) -> Tensor:
        return features.unflatten(-1, self.vae.features_shape)

    def _flat(self, features: Tensor) -> Tensor:
        return features.flatten(-len(self.vae.features_shape))


class _Quadratic(NamedTuple):
    """log p(x | f) as a quadratic in the last hidden layer h: its gradient is ``score - gram h``."""

    gram: Tensor  # Wᵀ H W, (H, H)
    score: Tensor  # at h = 0, (..., B, H)


def _solve(factor: Tensor, value: Tensor) -> Tensor:
    return torch.cholesky_solve(value.unsqueeze(-1), factor).squeeze(-1)


class _QuadraticForm(torch.autograd.Function):
    """J G Jᵀ for a symmetric G shared by the batch; the backward pass reuses J G, which saves one large product."""

    @staticmethod
    def forward(ctx: Any, jacobian: Tensor, gram: Tensor) -> Tensor:
        product = jacobian @ gram
        ctx.save_for_backward(jacobian, product)
        return product @ jacobian.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        jacobian, product = ctx.saved_tensors
        columns = (grad @ jacobian).flatten(0, -2)
        return (grad + grad.mT) @ product, jacobian.flatten(0, -2).T @ columns
