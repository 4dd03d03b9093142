"""A decoder and its Jacobian at a point, factored if the decoder's structure allows.

Jacobians are matrix products here, not calls of layers, which may be computed in bfloat16: J v, Jᵀ c and J itself are
those of one and the same Jacobian, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.given import given_of
from pyro_vaes.networks.conditional import ConditionalDecoder

_RESHAPES = (nn.Flatten, nn.Unflatten, nn.Identity)
_ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
)


class Linearization(Protocol):
    """A decoder ``output(hidden(z))`` at z, up to the shape of its output, with the Jacobian J = ∂ hidden / ∂ z.

    Attributes:
        hidden: last hidden layer, ``(..., H)``; the flattened features themselves if ``output`` is None.
        output: the decoder's last layer, a linear one, or None.

    Shapes:
        For z ``(..., Z)``: ``hidden (..., H)``; the flattened features are ``output(hidden)``, ``(..., D)``.
    """

    hidden: Tensor
    output: nn.Linear | None

    def push(self, direction: Tensor) -> Tensor:
        """J v: ``(..., Z)`` to ``(..., H)``, at the cost of about one forward pass."""

    def pull(self, cotangent: Tensor) -> Tensor:
        """Jᵀ c: ``(..., H)`` to ``(..., Z)``, at the cost of about one backward pass."""

    def transposed(self) -> Tensor:
        """Jᵀ, shape ``(..., Z, H)``, at the cost of Z forward passes."""


def linearize(decoder: Callable[[Tensor], Tensor], z: Tensor) -> Linearization:
    """A decoder and its Jacobian at z, differentiable in z and in the decoder's parameters.

    A sequence of linear layers and elementwise nonlinearities is differentiated layer by layer, with one matrix
    product per layer for the whole batch, and its last linear layer is set apart as ``output``. Any other decoder is
    differentiated by ``torch.func``.

    Args:
        decoder: any module ``z (..., Z) -> features`` that treats observations independently.
        z: the point, ``(..., Z)``.

    Example:
        >>> decoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> at = linearize(decoder, torch.zeros(4, 2))
        >>> at.transposed().shape, at.output
        (torch.Size([4, 2, 8]), Linear(in_features=8, out_features=3, bias=True))
    """
    layers = _layers(decoder)
    return _ByFunction(decoder, z) if layers is None else _ByLayers(*layers, z, _joined(decoder, z))


def flat_features(at: Linearization) -> Tensor:
    """The flattened features, ``(..., D)``."""
    return at.hidden if at.output is None else at.output(at.hidden)


def gauss_newton(at: Linearization, fisher: Callable[[Tensor], Tensor]) -> Tensor:
    """Jᵀ H J with J the Jacobian of the flattened features, ``(..., Z, Z)``.

    Args:
        at: the decoder at a point.
        fisher: the diagonal of H at the flattened features, ``(..., D)`` to ``(..., D)``.

    Example:
        >>> decoder = nn.Linear(2, 3, bias=False)
        >>> curvature = gauss_newton(linearize(decoder, torch.zeros(2)), torch.ones_like)
        >>> torch.allclose(curvature, decoder.weight.T @ decoder.weight)
        True
    """
    jacobian = at.transposed() if at.output is None else at.transposed() @ at.output.weight.T
    return (jacobian * fisher(flat_features(at)).unsqueeze(-2)) @ jacobian.mT


def linear_head(decoder: nn.Module) -> nn.Linear | None:
    """The last layer of a decoder that :func:`linearize` sets apart, or None.

    Example:
        >>> linear_head(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)))
        Linear(in_features=8, out_features=3, bias=True)
    """
    layers = _layers(decoder)
    return None if layers is None else layers[1]


class _ByLayers:
    """Linearization of linear layers with elementwise nonlinearities between them.

    Their input ``joined (..., I)`` begins with z; the rest of it, a condition, is held.
    """

    def __init__(self, trunk: list[nn.Module], output: nn.Linear | None, z: Tensor, joined: Tensor) -> None:
        self.latent_dim, self.size = z.shape[-1], joined.shape[-1]
        self.hidden = joined
        self.factors: list[nn.Linear | Tensor] = []  # linear layers and slopes, from z onward
        for layer in trunk:
            if isinstance(layer, nn.Linear):
                self.hidden = layer(self.hidden)
                self.factors.append(layer)
            else:
                self.hidden, slope = _with_slope(layer, self.hidden)
                self.factors.append(slope)
        self.output = output

    def push(self, direction: Tensor) -> Tensor:
        if self.size > self.latent_dim:
            direction = F.pad(direction, (0, self.size - self.latent_dim))
        for factor in self.factors:
            direction = direction @ factor.weight.T if isinstance(factor, nn.Linear) else direction * factor
        return direction

    def pull(self, cotangent: Tensor) -> Tensor:
        for factor in reversed(self.factors):
            cotangent = cotangent @ factor.weight if isinstance(factor, nn.Linear) else cotangent * factor
        return cotangent if self.size == self.latent_dim else cotangent[..., : self.latent_dim]

    def transposed(self) -> Tensor:
        rows = torch.eye(self.latent_dim, self.size, dtype=self.hidden.dtype, device=self.hidden.device)
        for factor in self.factors:
            rows = rows @ factor.weight.T if isinstance(factor, nn.Linear) else rows * factor.unsqueeze(-2)
        return rows


class _ByFunction:
    """Linearization of any decoder, by ``torch.func``."""

    def __init__(self, decoder: Callable[[Tensor], Tensor], z: Tensor) -> None:
        self.output: nn.Linear | None = None
        self.function: Callable[[Tensor], Tensor] = lambda value: decoder(value).flatten(z.dim() - 1)
        self.z = z
        self.hidden = self.function(z)

    def push(self, direction: Tensor) -> Tensor:
        return torch.func.jvp(self.function, (self.z,), (direction,))[1]

    def pull(self, cotangent: Tensor) -> Tensor:
        return torch.func.vjp(self.function, self.z)[1](cotangent)[0]

    def transposed(self) -> Tensor:
        rows = torch.eye(self.z.shape[-1], dtype=self.z.dtype, device=self.z.device)
        return torch.func.vmap(lambda row: self.push(row.expand_as(self.z)), out_dims=self.z.dim() - 1)(rows)


def _layers(decoder: Callable[[Tensor], Tensor]) -> tuple[list[nn.Module], nn.Linear] | None:
    """The hidden layers and the last, linear, layer of a sequence; None for any other decoder."""
    if isinstance(decoder, ConditionalDecoder):
        return _layers(decoder.network)
    if not isinstance(decoder, nn.Sequential) or type(decoder).forward is not nn.Sequential.forward:
        return None
    layers = list(decoder)
    while layers and isinstance(layers[-1], _RESHAPES):
        layers.pop()
    last = layers.pop() if layers else decoder
    if not _is_linear(last):
        return None
    return (layers, last) if all(_is_linear(layer) or isinstance(layer, _ELEMENTWISE) for layer in layers) else None


def _joined(decoder: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """The input of the first layer: z, and the condition if there is one."""
    return decoder.join(z, **given_of(decoder)) if isinstance(decoder, ConditionalDecoder) else z


def _is_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer's Jacobian is its weight, which need not hold for a subclass such as a masked layer."""
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def _with_slope(activation: Callable[[Tensor], Tensor], value: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(activation, nn.ReLU):
        return torch.relu(value), (value > 0).to(value.dtype)
    return torch.func.jvp(activation, (value,), (torch.ones_like(value),))  # type: ignore[return-value]
