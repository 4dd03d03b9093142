"""The boosted mixture guide."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.guides.recursive_mixture import RecursiveMixture
from pyro_vaes.vae import VAE


class BoostedMixture(RecursiveMixture):
    """Boosted mixture with an entropy regularizer on each new component, the baseline BVI.

    As :class:`RecursiveMixture`, but component m maximizes E_qₘ[log p(x, z) - log Qₘ₋₁(z | x)] + λ H(qₘ).

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        components: number M of components.
        entropy: λ, weight of the entropy H.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If there is no component, or the weight is not positive.

    References:
        Boosting Variational Inference (Guo et al., 2016), amortized as the baseline BVI of Recursive Inference for
        Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020).

    Example:
        >>> BoostedMixture(vae, encoder, components=2).posterior(x).mean.shape
        torch.Size([4, 2])
    """

    warmup = 0  # there is no bound

    def __init__(self, vae: VAE, encoder: nn.Module, components: int = 4, entropy: float = 1.0) -> None:
        super().__init__(vae, encoder, components)
        if not entropy > 0:
            raise InputError(
                f"entropy is {entropy!r}: expected a positive weight, since components collapse without it"
            )
        self.entropy = entropy

    def component_objective(self, log_joint: Tensor, log_own: Tensor, log_before: Tensor) -> Tensor:
        """Objective of a new component at one of its draws; see :meth:`RecursiveMixture.component_objective`."""
        return log_joint - log_before - self.entropy * log_own
