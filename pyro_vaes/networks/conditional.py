"""Networks that take a condition beside their input: a label, or a vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.networks.shapes import out_features
from pyro_vaes.validation import checked_sizes


def condition_vector(y: Tensor | None, condition_dim: int, like: Tensor) -> Tensor:
    """The condition as a vector: a label one-hot, a vector as it is.

    Args:
        y: labels ``(B,)`` in {0, …, C - 1}, or vectors ``(B, C)``; None if the condition was forgotten.
        condition_dim: number C of classes, or size of the vectors.
        like: a tensor of the vector's dtype.

    Shapes:
        ``(B, C)``.

    Raises:
        InputError: If there is no condition, or the vectors have another size.

    Example:
        >>> condition_vector(torch.tensor([2, 0]), 3, torch.zeros(1))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    if y is None:
        raise InputError("the model is conditional on y, which is missing: call model and guide with it, model(x, y)")
    if y.dim() < 2:  # a comparison, since torch's one_hot makes the host wait for the device
        return (y.unsqueeze(-1) == torch.arange(condition_dim, device=y.device)).to(like.dtype)
    if y.shape[-1] != condition_dim:
        raise InputError(
            f"the condition y has the size {y.shape[-1]}, but the model's has {condition_dim}: give vectors "
            f"(B, {condition_dim}), or labels (B,)"
        )
    return y.to(like.dtype)


def join_condition(inputs: Tensor, y: Tensor | None, condition_dim: int) -> Tensor:
    """Inputs with the condition behind them: ``(..., B, F)`` and ``(B, ...)`` to ``(..., B, F + C)``.

    Example:
        >>> join_condition(torch.zeros(5, 4, 2), torch.zeros(4, 3), 3).shape
        torch.Size([5, 4, 5])
    """
    condition = condition_vector(y, condition_dim, inputs)
    return torch.cat([inputs, condition.expand(*inputs.shape[:-1], condition_dim)], -1)


class ConditionalDecoder(nn.Module):
    """A decoder of the latent and the condition together, network([z, c]).

    Args:
        network: any decoder of latents ``(..., Z + C)``.
        condition_dim: number C of classes, or size of the condition.

    Shapes:
        ``z (..., B, Z)`` and ``y (B,)`` or ``(B, C)`` to the network's features.

    Example:
        >>> from pyro_vaes.networks import MLPDecoder
        >>> decoder = ConditionalDecoder(MLPDecoder(2 + 10, (1, 8, 8)), condition_dim=10)
        >>> decoder(torch.zeros(5, 4, 2), torch.arange(4)).shape
        torch.Size([5, 4, 1, 8, 8])
    """

    def __init__(self, network: nn.Module, condition_dim: int) -> None:
        super().__init__()
        checked_sizes(condition_dim=(condition_dim,))
        self.network, self.condition_dim = network, condition_dim

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Features at z, given y."""
        return self.network(self.join(z, y))

    def join(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The network's input [z, c]."""
        return join_condition(z, y, self.condition_dim)


class ConditionalEncoder(nn.Module):
    """An encoder of datum and condition together: a layer of rectified units on the features of both, [network(x), c].

    Args:
        network: any encoder ``x (..., *event_shape) -> (..., out_features)``.
        condition_dim: number C of classes, or size of the condition.

    Shapes:
        ``x (..., B, *event_shape)`` and ``y (B,)`` or ``(B, C)`` to ``(..., B, out_features)``.

    Example:
        >>> from pyro_vaes.networks import MLPEncoder
        >>> encoder = ConditionalEncoder(MLPEncoder((1, 8, 8), hidden=(16,)), condition_dim=10)
        >>> encoder(torch.zeros(4, 1, 8, 8), torch.arange(4)).shape
        torch.Size([4, 16])
    """

    def __init__(self, network: nn.Module, condition_dim: int) -> None:
        super().__init__()
        checked_sizes(condition_dim=(condition_dim,))
        self.network, self.condition_dim, self.out_features = network, condition_dim, out_features(network)
        self.layer = nn.Linear(self.out_features + condition_dim, self.out_features).to(reference_weight(network))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Features of x and y."""
        return F.relu(self.layer(join_condition(self.network(x), y, self.condition_dim)))
