"""The Householder guide.

Hand-written, since Pyro's ``ConditionalHouseholder`` transforms draws, while q(z | x) is a normal distribution whose
mean, covariance and KL divergence have a closed form.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal import ReflectedNormal
from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import checked_sizes


class Householder(Guide):
    """Householder flow: a mean-field draw, reflected in ``flows`` hyperplanes that depend on x.

    With Hₖ = I - 2 uₖ uₖᵀ and uₖ = vₖ(x) / ‖vₖ(x)‖::

        z = H_K … H₁ z₀,      z₀ ~ N(μ(x), diag σ(x)²)

    so q(z | x) is a normal distribution whose covariance has eigenvalues σ² and eigenvectors that depend on x; Z
    reflections suffice for any orthogonal matrix. The flow preserves volume: log q(z | x) = log N(H₁ … H_K z; μ, σ²).
    A reflection costs two vector products; draws and densities need no Z x Z matrix. The head computes all vₖ from the
    encoder's features, which includes the paper's chain of linear layers from vₖ to vₖ₊₁.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        flows: number K of reflections.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If the number of flows is not a positive integer.

    References:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016).

    Example:
        >>> q = Householder(vae, encoder, flows=3).posterior(x)
        >>> q.vectors.shape, q.rsample().shape
        (torch.Size([4, 3, 2]), torch.Size([4, 2]))
    """

    def __init__(self, vae: VAE, encoder: nn.Module, flows: int = 2) -> None:
        checked_sizes(flows=(flows,))
        super().__init__(vae, encoder, outputs=vae.latent_dim * (2 + flows))
        self.flows = flows

    def start_from(self, mean_field: Guide) -> None:
        """Start at the mean-field posterior: consecutive reflections are equal in pairs, which cancel.

        Without a partner the last one reflects the first axis, and the base has the opposite mean there.
        """
        super().start_from(mean_field)
        pairs, single = divmod(self.flows, 2)
        with torch.no_grad():
            weight, bias = (each.unflatten(0, (2 + self.flows, -1)) for each in self.head.parameters())
            weight[2:].normal_(std=weight.shape[-1] ** -0.5)
            weight[3 : 2 + 2 * pairs : 2] = weight[2 : 2 + 2 * pairs : 2]
            if single:
                weight[-1], bias[-1, 0] = 0, 1
                weight[0, 0].neg_(), bias[0, 0].neg_()

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ, diag σ²) after the reflections."""
        outputs = parameters[0].unflatten(-1, (2 + self.flows, -1))
        mean, raw_scale = outputs[..., :2, :].unbind(-2)
        return ReflectedNormal(mean, positive(raw_scale), outputs[..., 2:, :])
