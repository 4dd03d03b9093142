"""The boosted mixture guide."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.guides.recursive_mixture import RecursiveMixture
from pyro_vaes.vae import VAE


class BoostedMixture(RecursiveMixture):
    """Boosted mixture with an entropy regularizer on each new component, the baseline BVI.

    As :class:`RecursiveMixture`, but component m maximizes E_qₘ[log p(x, z) - log Qₘ₋₁(z | x)] + λ H(qₘ). That grows
    without limit in directions in which Qₘ₋₁ falls faster than p(z | x), as it does where independent normals stand for
    a correlated posterior, and components there run away. So log qₘ - log Qₘ₋₁ counts up to a bound C on each draw::

        E_qₘ[log p(x, z) + min(C, log qₘ - log Qₘ₋₁)] + (1 + λ) H(qₘ),

    the published objective for C = ∞.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        components: number M of components.
        entropy: λ, weight of the entropy H.
        bound: C, in nats.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If there is no component, or the weight or the bound is not positive.

    References:
        Boosting Variational Inference (Guo et al., 2016), amortized as the baseline BVI of Recursive Inference for
        Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020).

    Example:
        >>> BoostedMixture(vae, encoder, components=2).posterior(x).mean.shape
        torch.Size([4, 2])
    """

    warmup = 0

    def __init__(
        self, vae: VAE, encoder: nn.Module, components: int = 4, entropy: float = 1.0, bound: float = 30.0
    ) -> None:
        super().__init__(vae, encoder, components, bound)
        if not entropy > 0:
            raise InputError(
                f"entropy is {entropy!r}: expected a positive weight, since components collapse without it"
            )
        self.entropy = entropy

    def component_objective(self, log_joint: Tensor, log_own: Tensor, log_before: Tensor) -> Tensor:
        """Objective of a new component at one of its draws; see :meth:`RecursiveMixture.component_objective`."""
        return super().component_objective(log_joint, log_own, log_before) - self.entropy * log_own
