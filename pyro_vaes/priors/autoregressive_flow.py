"""The autoregressive flow prior."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_vaes.networks.made import MADE
from pyro_vaes.priors.flow import Flow, TransformKind


class AutoregressiveFlow(Flow):
    """Autoregressive flow prior: z = f(ε) with ε ~ N(0, I), undone by ``flows`` masked networks, ε = T_K … T₁(z).

    Each step gives εᵢ from zᵢ and the coordinates before it, and every second step goes through the coordinates in
    reverse::

        mean    εᵢ = zᵢ + mᵢ                      keeps volume
        affine  εᵢ = exp(sᵢ) zᵢ + mᵢ
        gated   εᵢ = gᵢ zᵢ + (1 - gᵢ) mᵢ,         gᵢ = sigmoid(sᵢ + 2)

        log p(z) = log N(T(z); 0, I) + log |∂T/∂z|

    The density takes one pass through each network; a draw is exact and takes Z, one a coordinate. Under a plain
    posterior on z this is, for the ELBO, an inverse autoregressive flow posterior on ε under a plain prior, with a
    deeper decoder ε -> z -> x: a ``gated`` flow is the one of the guide ``InverseAutoregressiveFlow``.

    Args:
        latent_dim: size Z of the latent, 2 or more.
        flows: number K of steps.
        hidden: sizes of the hidden layers of each network.
        transform: kind of the steps, ``"mean"``, ``"affine"`` or ``"gated"``.

    Attributes:
        flows: the masked networks, in the order from z to ε.

    Shapes:
        Calling it gives a distribution with batch shape ``()`` and event shape ``(Z,)``.

    Raises:
        InputError: for a latent of one dimension, a size that is no positive whole number, or an unknown transform.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017), steps of the mean only;
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019), affine.

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
