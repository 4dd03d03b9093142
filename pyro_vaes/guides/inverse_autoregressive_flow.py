"""The inverse autoregressive flow guide.

Hand-written, since Pyro's ``ConditionalAffineAutoregressive`` evaluates the context once per draw instead of once per
datum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vaes.distributions.autoregressive_transform import OPEN_GATE, AutoregressiveTransform, gated
from pyro_vaes.networks.made import MADE
from pyro_vaes.networks.positive import positive
from pyro_vaes.networks.shapes import out_features
from pyro_vaes.networks.weight_norm import FLOW_INIT_SCALE, set_init_scale
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import checked_sizes


class InverseAutoregressiveFlow(Guide):
    """Inverse autoregressive flow: a mean-field draw z₀ mapped by ``flows`` gated autoregressive transforms.

    Transform k has a masked network, which computes mᵢ and sᵢ from the coordinates before i and from a context, the
    encoder's features h(x)::

        z₀ ~ N(μ(x) / c, σ(x)² / c²),      c = sigmoid(2)^K
        zₖ = gₖ zₖ₋₁ + (1 - gₖ) mₖ,        gₖ = sigmoid(sₖ + 2),      (mₖ, sₖ) = net_k(zₖ₋₁, h(x))
        log q(z_K | x) = log N(z₀; μ(x) / c, σ(x)² / c²) - Σₖ Σᵢ log gₖᵢ

    The gates are initially near 0.9, so that every transform is close to the identity. The base is wider by what the
    transforms contract where m = s = 0: there q(z | x) = N(μ(x), diag σ(x)²). Every second transform reverses the order
    of the coordinates. A draw and its density take one pass of each network; the density of any other z takes Z passes,
    one per coordinate. The context layer is evaluated once per datum, for any number of draws. For a latent of one
    dimension the transforms are affine.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        flows: number of transforms.
        hidden: sizes of the hidden layers of each masked network.

    Attributes:
        flows: the masked networks, in the order of the transforms.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If a size is not a positive integer.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans, Jozefowicz, Chen,
        Sutskever, Welling, 2016); MADE (Germain, Gregor, Murray, Larochelle, 2015) for the masks.

    Example:
        >>> guide = InverseAutoregressiveFlow(vae, encoder, flows=2, hidden=(16,))
        >>> q = guide.posterior(x)
        >>> q.rsample((5,)).shape, q.log_prob(torch.zeros(2)).shape
        (torch.Size([5, 4, 2]), torch.Size([4]))
    """

    def __init__(self, vae: VAE, encoder: nn.Module, flows: int = 2, hidden: Sequence[int] = (128,)) -> None:
        (flows,), hidden = checked_sizes(flows=(flows,), hidden=hidden)
        super().__init__(vae, encoder, outputs=2 * vae.latent_dim)
        context, size = out_features(encoder), vae.latent_dim
        networks = (MADE(size, hidden, 2, context, reverse=k % 2 == 1) for k in range(flows))
        self.flows: Iterable[MADE] = nn.ModuleList(networks)  # type: ignore[assignment]
        for each in self.flows:
            set_init_scale(each, FLOW_INIT_SCALE)

    def start_from(self, mean_field: Guide) -> None:
        """Start at the mean-field posterior: the last layer of every network is 0, and so are m and s."""
        super().start_from(mean_field)
        for network in self.flows:
            for parameter in network.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """μ and raw σ of the base, and the context of each transform."""
        features = self.encode(x)
        return self.head(features), *(network.context(features) for network in self.flows)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """N(μ / c, diag σ² / c²) transformed."""
        base, *contexts = parameters
        mean, raw_scale = base.chunk(2, -1)
        contraction = OPEN_GATE ** len(contexts)
        pairs = zip(self.flows, contexts, strict=True)
        transforms = [AutoregressiveTransform(network, gated, context) for network, context in pairs]
        normal = dist.Normal(mean / contraction, positive(raw_scale) / contraction).to_event(1)
        return dist.TransformedDistribution(normal, transforms)
