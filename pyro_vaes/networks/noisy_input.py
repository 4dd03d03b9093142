"""An encoder of corrupted images, for denoising training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError


class NoisyInput(nn.Module):
    """Encoder whose input is corrupted in training mode, as by dropout, while the model's x stays clean.

    With independent b, s ~ Bernoulli of every value::

        x̃ = clip(x · b + s + scale · ε, 0, 1),      P(b = 0) = P(s = 1) = probability,   ε ~ N(0, 1)

    The objective is then that of q(z | x̃), E log p(x, z) - log q(z | x̃), a lower bound on log p(x) of the clean x too.
    In evaluation mode, hence in validation and in all estimates, the encoder sees x itself.

    Args:
        encoder: any encoder of images with values in [0, 1].
        probability: probability of pepper, a value set to 0, and of salt, 1 added to it.
        scale: standard deviation of the normal noise.

    Shapes:
        As those of the encoder.

    Raises:
        InputError: If the probability is not in [0, 1], or the scale negative.

    References:
        Denoising Criterion for Variational Auto-Encoding Framework (Im, Ahn, Memisevic, Bengio, 2017). Form and amount
        of the noise are those of the code of Learning Hierarchical Features from Deep Generative Models (Zhao, Song,
        Ermon, 2017).

    Example:
        >>> noisy = NoisyInput(nn.Flatten())
        >>> x = torch.full((1, 1, 2, 2), 0.5)
        >>> noisy.train()(x), noisy.eval()(x)
        (tensor([[...]]), tensor([[0.5000, 0.5000, 0.5000, 0.5000]]))
    """

    def __init__(self, encoder: nn.Module, probability: float = 0.1, scale: float = 0.1) -> None:
        super().__init__()
        if not (0 <= probability <= 1 and scale >= 0):
            raise InputError(
                f"probability is {probability} and scale {scale}: expected a probability, and a scale of 0 or more"
            )
        self.encoder, self.probability, self.scale = encoder, probability, scale
        if hasattr(encoder, "out_features"):
            self.out_features = encoder.out_features

    def forward(self, x: Tensor) -> Any:
        """The encoder's features of x, corrupted in training mode."""
        return self.encoder(self.corrupt(x) if self.training else x)

    def corrupt(self, x: Tensor) -> Tensor:
        """Draw x̃, of the shape of x."""
        kept, salt = (torch.rand_like(x) >= self.probability, torch.rand_like(x) < self.probability)
        return (x * kept + salt + self.scale * torch.randn_like(x)).clamp(0, 1)
