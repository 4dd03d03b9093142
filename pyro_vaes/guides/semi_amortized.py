"""The semi-amortized guide."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_vaes.errors import InputError
from pyro_vaes.guides.mean_field import diagonal_normal
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_whole


class SemiAmortized(Guide):
    """Mean-field posterior from the encoder, refined by gradient steps on each datum's ELBO.

    With λ = (μ, unconstrained σ) of one datum, ε a new draw, and g the gradient clipped to the norm ``clip``::

        v ← momentum v + g( log p(x | μ + σ ε) - KL(q_λ ‖ p(z)) ),      λ ← λ + lr v,      ``steps`` times

    The steps ascend, and the step of a datum does not depend on its batch; code released with a later comparison
    descends, and divides by the batch size. The noise is redrawn at each step: with a fixed ε the steps could increase
    the score of that single draw at the expense of the posterior. Hence two calls give two posteriors, each a valid q
    with an unbiased bound and importance weights. Without ``stop_gradients``, gradients flow through every step into
    encoder and model (second derivatives); with it the steps are treated as constants, and the encoder is trained by
    the gradient at the refined λ.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        steps: number of steps; 0 is ``MeanField``.
        lr: step size. The paper's is 1.0, for discrete text. A step size that is large for the curvature of the ELBO
            does not converge: 1.0 ruins the posterior under a Gaussian likelihood on images.
        momentum: momentum, in [0, 1).
        clip: maximum norm of one datum's gradient.
        stop_gradients: whether gradients stop at the steps, a cheaper approximation.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If an option is out of range.

    References:
        Semi-Amortized Variational Autoencoders (Kim, Wiseman, Miller, Sontag, Rush, ICML 2018).

    Example:
        >>> guide = SemiAmortized(vae, encoder, steps=5)
        >>> guide.posterior(x).rsample().shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        vae: VAE,
        encoder: nn.Module,
        steps: int = 20,
        lr: float = 0.03,
        momentum: float = 0.5,
        clip: float = 5.0,
        stop_gradients: bool = False,
    ) -> None:
        super().__init__(vae, encoder, outputs=2 * vae.latent_dim)
        check_whole("steps", steps, least=0)
        for name, value in (("lr", lr), ("clip", clip)):
            if not value > 0:
                raise InputError(f"{name} is {value!r}: expected a positive number")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum is {momentum!r}: expected a number in [0, 1)")
        self.steps, self.lr, self.momentum, self.clip = steps, lr, momentum, clip
        self.stop_gradients = stop_gradients

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """λ after the steps."""
        (refined,) = super().local_parameters(x)
        velocity = torch.zeros_like(refined)
        for _ in range(self.steps):
            gradient = self._gradient(x, refined)
            norm = gradient.norm(dim=-1, keepdim=True)
            velocity = self.momentum * velocity + gradient * (self.clip / norm.clamp_min(self.clip))
            refined = refined + self.lr * velocity
        return (refined,)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ, diag σ²)."""
        return diagonal_normal(parameters[0])

    def _gradient(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Gradient of each datum's ELBO in its parameters, at one draw; also if gradients are disabled."""
        record = torch.is_grad_enabled() and not self.stop_gradients
        with torch.enable_grad():
            if not (record and parameters.requires_grad):
                parameters = parameters.detach().requires_grad_()
            q, prior = diagonal_normal(parameters), self.vae.prior()
            z = q.mean + q.stddev * torch.randn_like(q.mean)
            reconstruction = self.vae.likelihood.observation(self.vae.features(z), x).log_prob(x)
            try:
                kl = kl_divergence(q, prior)
            except NotImplementedError:
                kl = q.log_prob(z) - prior.log_prob(z)
            return torch.autograd.grad((reconstruction - kl).sum(), parameters, create_graph=record)[0]
