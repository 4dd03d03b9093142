"""The recursive mixture guide."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.guides.mixture import Mixture
from pyro_vaes.vae import VAE, Guide

PEAK = 64  # the highest C of the warm-up, in units of the bound


class RecursiveMixture(Mixture):
    """Recursive mixture of amortized posteriors, in which each component also diverges from the preceding mixture.

    With Qₘ the mixture of components 0 to m (see :class:`Mixture`), component 0 maximizes ELBO(q₀), component m
    maximizes ELBO(qₘ) + E_qₘ[min(C, log qₘ - log Qₘ₋₁)] per datum with Qₘ₋₁ fixed, its weight εₘ maximizes ELBO(Qₘ)
    with the components fixed, and the model maximizes ELBO(Q_M). ``RecursiveMixtureELBO`` computes all these gradients
    in one pass. Without the bound C the optimal component would be a point mass.

    The paper has min(C, KL(qₘ ‖ Qₘ₋₁)), which draws estimate with a bias. The bound on each draw has none, and is never
    above the paper's, as min is concave; where the KL is far below C both are the KL, and far above it both are C.

    A component finds a distant mode only with a C above the KL of the barrier between the modes, but such a C keeps
    components away from the posterior. So C changes in the warm-up: it is 0 at first, which keeps the components
    together, then rises to 64 times its value, which drives them apart, and falls to it, so that each settles in the
    mode that it found.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        components: number M of components; 1 is the mean-field guide.
        bound: C, in nats, up to which a component's divergence from the preceding mixture is rewarded. The default
            was chosen on the validation splits of MNIST, see benchmarks/README.md.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If there is no component, or the bound is not positive.

    References:
        Recursive Inference for Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020). The fixed number of
        components, trained in turn on every minibatch, is this project's choice.

    Example:
        >>> guide = RecursiveMixture(vae, encoder, components=2)
        >>> guide.posterior(x).rsample().shape
        torch.Size([4, 2])
    """

    loss = "RecursiveMixtureELBO"
    warmup = 1000

    def __init__(self, vae: VAE, encoder: nn.Module, components: int = 4, bound: float = 3.0) -> None:
        super().__init__(vae, encoder, components)
        if not bound > 0:
            raise InputError(f"bound is {bound!r}: expected a positive number of nats")
        self.bound = bound

    def start_from(self, mean_field: Guide) -> None:
        """Start every component at the mean-field posterior, as :class:`Mixture` does, and keep the warm-up."""
        warmup = self.warmup
        super().start_from(mean_field)
        self.warmup = warmup

    @property
    def current_bound(self) -> float:
        """C at this step, 0 in the first quarter of the warm-up, then up to 64 times its value, and down to it."""
        if self.progress < 0.25:
            return 0.0
        return self.bound * PEAK ** min((self.progress - 0.25) / 0.25, (1 - self.progress) / 0.5)

    def component_objective(self, log_joint: Tensor, log_own: Tensor, log_before: Tensor) -> Tensor:
        """Objective of a new component, ELBO(qₘ) + E_qₘ[min(C, log qₘ - log Qₘ₋₁)], at one of its draws.

        Args:
            log_joint: log p(x, z).
            log_own: log qₘ(z | x).
            log_before: log Qₘ₋₁(z | x).
        """
        return log_joint - log_own + (log_own - log_before).clamp_max(self.current_bound)
