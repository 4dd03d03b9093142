"""The autoregressive flow prior."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_vaes.networks.made import MADE
from pyro_vaes.priors.flow import Flow, TransformKind


class AutoregressiveFlow(Flow):
    """Autoregressive flow prior: z = f(ε) with ε ~ N(0, I) and f⁻¹ = T_K ∘ … ∘ T₁ from masked networks.

    Each transform computes εᵢ from zᵢ and the preceding coordinates; every second one reverses their order::

        mean    εᵢ = zᵢ + mᵢ                      preserves volume
        affine  εᵢ = exp(sᵢ) zᵢ + mᵢ
        gated   εᵢ = gᵢ zᵢ + (1 - gᵢ) mᵢ,         gᵢ = sigmoid(sᵢ + 2)

        log p(z) = log N(T(z); 0, I) + log |∂T/∂z|

    The density takes one pass of each network; a draw takes Z passes, one per coordinate. For the ELBO, this prior
    with a mean-field posterior on z is equivalent to a standard normal prior with an inverse autoregressive flow
    posterior on ε and a deeper decoder ε -> z -> x; ``gated`` corresponds to the guide ``InverseAutoregressiveFlow``.

    Args:
        latent_dim: size Z of the latent, 2 or more.
        flows: number K of transforms.
        hidden: sizes of the hidden layers of each network.
        transform: kind of the transforms, ``"mean"``, ``"affine"`` or ``"gated"``.

    Attributes:
        flows: the masked networks, in the order from z to ε.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``.

    Raises:
        InputError: If the latent has one dimension, a size is not a positive integer, or the transform is unknown.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017), for ``mean``;
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019), for
        ``affine``.

    Example:
        >>> prior = AutoregressiveFlow(3, flows=2, hidden=(16,))
        >>> z = prior().sample((5,))
        >>> z.shape, prior().log_prob(z).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self, latent_dim: int, flows: int = 4, hidden: Sequence[int] = (128,), transform: TransformKind = "affine"
    ) -> None:
        super().__init__(
            latent_dim, flows, transform, lambda outputs, reverse: MADE(latent_dim, hidden, outputs, reverse=reverse)
        )
