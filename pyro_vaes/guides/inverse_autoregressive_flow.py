"""The inverse autoregressive flow guide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import pyro.distributions as dist
import torch
from pyro.nn import MaskedLinear
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from pyro_vaes.guides.mean_field import positive
from pyro_vaes.networks.shapes import checked_sizes, out_features
from pyro_vaes.vae import VAE, Guide


class InverseAutoregressiveFlow(Guide):
    """Inverse autoregressive flow: a mean-field draw z₀ sent through ``flows`` gated autoregressive steps.

    Step k has a masked network, which gives mᵢ and sᵢ from the coordinates before i and from the context, the
    encoder's features h(x)::

        zₖ = gₖ zₖ₋₁ + (1 - gₖ) mₖ,      gₖ = sigmoid(sₖ + 2),      (mₖ, sₖ) = net_k(zₖ₋₁, h(x))
        log q(z_K | x) = log N(z₀; μ(x), σ(x)²) - Σₖ Σᵢ log gₖᵢ

    The gates start near 0.9, so that every step starts near the identity. Every second step goes through the
    coordinates in reverse. A draw and its density take one pass through each network; the density of any other z
    takes Z passes, one a coordinate. h(x) enters each network once a datum, whatever the number of draws. With a
    latent of one dimension a step is affine.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
        flows: number of steps.
        hidden: sizes of the hidden layers of each masked network.

    Attributes:
        flows: the masked networks, in the order of the steps.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: where a size is no positive whole number.

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
        self.flows = nn.ModuleList(_MaskedNetwork(size, context, hidden, reverse=k % 2 == 1) for k in range(flows))

    def posterior(self, x: Tensor) -> dist.TorchDistribution:
        """N(μ(x), diag σ(x)²) after the steps."""
        features = self.encoder(x)
        mean, raw_scale = self.head(features).chunk(2, -1)
        steps = [network(features) for network in self.flows]
        return dist.TransformedDistribution(dist.Normal(mean, positive(raw_scale)).to_event(1), steps)

    def amortised(self) -> list[nn.Module]:
        """The layers whose outputs are the parameters of one datum's q(z | x): of the start and of each step."""
        return [self.head, *(network.get_submodule("context") for network in self.flows)]


class _MaskedNetwork(nn.Module):
    """Gives a step at a context. Coordinate i of its (m, s) sees only the coordinates of z before i."""

    def __init__(self, size: int, context: int, hidden: tuple[int, ...], reverse: bool) -> None:
        super().__init__()
        self.order = range(size)[::-1] if reverse else range(size)
        position = torch.tensor(self.order)
        # a hidden unit of degree d sees the first d coordinates, an output of position p the units of degree up to p
        degrees = [torch.linspace(0, size - 1, units).round() for units in hidden]
        masks = [degrees[0].unsqueeze(-1) > position]
        masks += [above.unsqueeze(-1) >= below for below, above in itertools.pairwise(degrees)]
        masks += [position.repeat(2).unsqueeze(-1) >= degrees[-1]]
        self.layers = nn.ModuleList(
            MaskedLinear(mask.shape[1], mask.shape[0], mask.to(torch.get_default_dtype())) for mask in masks
        )
        self.context = nn.Linear(context, hidden[0], bias=False)

    def forward(self, features: Tensor) -> _Step:
        return _Step(self, self.context(features))

    def outputs(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        first, *others = self.layers
        value = first(z) + context
        for layer in others:
            value = layer(F.elu(value))
        mean, gate = value.chunk(2, -1)
        return mean, gate + 2


class _Pass(NamedTuple):
    x: Tensor
    y: Tensor
    log_determinant: Tensor
    recorded: bool  # with gradients


class _Step(Transform):
    """One step at a given context. Its own last draw is undone from memory, any other z coordinate by coordinate."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: _MaskedNetwork, context: Tensor) -> None:
        super().__init__()  # torch's own cache would lose the gradient of the density of what `sample` drew
        self.network, self.context = network, context
        self.last: _Pass | None = None

    def _call(self, x: Tensor) -> Tensor:
        return self._pass(x).y

    def _inverse(self, y: Tensor) -> Tensor:
        if (last := self._recall()) is not None and last.y is y:
            return last.x
        y = y.expand(torch.broadcast_shapes(y.shape[:-1], self.context.shape[:-1]) + y.shape[-1:])
        columns = [torch.zeros_like(y[..., 0])] * y.shape[-1]
        for i in self.network.order:
            mean, gate = (output[..., i] for output in self.network.outputs(torch.stack(columns, -1), self.context))
            columns[i] = (y[..., i] - (-gate).sigmoid() * mean) / gate.sigmoid()
        return torch.stack(columns, -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        last = self._recall()
        return (last if last is not None and last.x is x else self._pass(x)).log_determinant

    def _pass(self, x: Tensor) -> _Pass:
        mean, gate = self.network.outputs(x, self.context)
        y = gate.sigmoid() * x + (-gate).sigmoid() * mean
        self.last = _Pass(x, y, F.logsigmoid(gate).sum(-1), torch.is_grad_enabled())
        return self.last

    def _recall(self) -> _Pass | None:
        usable = self.last is not None and (self.last.recorded or not torch.is_grad_enabled())
        return self.last if usable else None
