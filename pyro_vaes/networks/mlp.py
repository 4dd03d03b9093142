"""Fully connected encoder and decoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from pyro_vaes.validation import checked_sizes


def _hidden_layers(sizes: Sequence[int], activation: Callable[[], nn.Module]) -> list[nn.Module]:
    return [layer for pair in itertools.pairwise(sizes) for layer in (_linear(*pair), activation())]


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out)
    _initialize(layer)
    return layer


def _initialize(layer: nn.Linear) -> None:
    """Initialize a linear layer as in Variational Laplace Autoencoders (Park, Kim, Kim, 2019)."""
    nn.init.kaiming_uniform_(layer.weight, a=2 ** (1 / 3), mode="fan_out")
    nn.init.zeros_(layer.bias)


class MLPEncoder(nn.Sequential):
    """Fully connected encoder: x -> hidden features, to which a guide adds its own linear head.

    Args:
        event_shape: shape of one datum, ``(C, H, W)`` or ``(D,)``.
        hidden: sizes of the hidden layers, from the data upward.
        activation: nonlinearity after each hidden layer.

    Shapes:
        ``x (..., *event_shape)`` to ``(..., out_features)`` with ``out_features = hidden[-1]``.

    Example:
        >>> MLPEncoder((1, 8, 8), hidden=(32, 16))(torch.zeros(5, 3, 1, 8, 8)).shape
        torch.Size([5, 3, 16])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        event_shape, hidden = checked_sizes(event_shape=event_shape, hidden=hidden)
        super().__init__(
            nn.Flatten(start_dim=-len(event_shape)),
            *_hidden_layers((math.prod(event_shape), *hidden), activation),
        )
        self.out_features = hidden[-1]


class KaimingHeadMLPEncoder(MLPEncoder):
    """Fully connected encoder whose guide initializes its linear head like the layers below it.

    Shapes:
        ``x (..., *event_shape)`` to ``(..., out_features)`` with ``out_features = hidden[-1]``.

    References:
        Variational Laplace Autoencoders (Park, Kim, Kim, ICML 2019).

    Example:
        >>> import pyro_vaes as pv
        >>> guide = pv.guides.MeanField(vae, KaimingHeadMLPEncoder((1, 8, 8), hidden=(32, 16)))
        >>> guide.head.bias
        Parameter containing:
        tensor([0., 0., 0., 0.], requires_grad=True)
    """

    def initialize_head(self, head: nn.Linear) -> None:
        """Kaiming's uniform distribution for the weights, zeros for the biases."""
        _initialize(head)


class MLPDecoder(nn.Sequential):
    """Fully connected decoder: z -> features of the likelihood, linear in its last hidden layer.

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape of the features of one datum.
        hidden: sizes of the hidden layers, from the latent downward; none gives a linear decoder.
        activation: nonlinearity after each hidden layer.

    Shapes:
        ``z (..., Z)`` to ``(..., *event_shape)``.

    Example:
        >>> MLPDecoder(2, (1, 8, 8), hidden=(16,))(torch.zeros(5, 3, 2)).shape
        torch.Size([5, 3, 1, 8, 8])
    """

    def __init__(
        self,
        latent_dim: int,
        event_shape: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        (latent_dim,), event_shape = checked_sizes(latent_dim=(latent_dim,), event_shape=event_shape)
        hidden = tuple(hidden) and checked_sizes(hidden=hidden)[0]
        sizes = (latent_dim, *hidden)
        super().__init__(
            *_hidden_layers(sizes, activation),
            _linear(sizes[-1], math.prod(event_shape)),
            nn.Unflatten(-1, event_shape),
        )
