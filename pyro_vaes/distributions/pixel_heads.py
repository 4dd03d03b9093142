"""Conditional distributions of a pixel given hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes import networks
from pyro_vaes.distributions.discretized_logistic import RoundedLogistic

MIN_SCALE = 4e-4  # of a component, about a tenth of the width of one of 256 bins


class Head(nn.Module):
    """Base class of the distributions of a pixel given hidden units, which depend on the preceding pixels.

    Args:
        channels: hidden channels.
        colors: number C of colors.
        num_bins: number L of gray levels.
    """

    def __init__(self, channels: int, colors: int, num_bins: int) -> None:
        super().__init__()
        self.channels, self.colors, self.num_bins = channels, colors, num_bins

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Log-probability in nats: ``(..., channels)`` and ``(..., C)`` to ``(...)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement log_prob(hidden, pixel)")

    def draw(self, hidden: Tensor) -> Tensor:
        """Pixels: ``(N, channels)`` to ``(N, C)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw(hidden)")


class CategoricalHead(Head):
    """Categorical distributions over the gray levels of each color, from a MADE over the colors.

    Example:
        >>> head = CategoricalHead(8, colors=3, num_bins=4)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colors: int, num_bins: int) -> None:
        super().__init__(channels, colors, num_bins)
        outputs = 1 if num_bins == 2 else num_bins
        self.made = networks.MADE(colors, (colors * channels,), outputs, context=channels)

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Σ_c log p(x_c | x_{<c})."""
        logits = self.made(pixel, self.made.context(hidden))
        if self.num_bins == 2:
            return F.logsigmoid((2 * pixel - 1) * logits.squeeze(-2)).sum(-1)
        index = (pixel * (self.num_bins - 1)).round().long().expand_as(logits[..., 0, :]).unsqueeze(-2)
        return logits.log_softmax(-2).gather(-2, index).sum((-2, -1))

    def draw(self, hidden: Tensor) -> Tensor:
        """Ancestral sampling, color by color."""
        context, pixel = self.made.context(hidden), hidden.new_zeros(len(hidden), self.colors)
        for c in range(self.colors):
            logits = self.made(pixel, context)[..., c]
            if self.num_bins == 2:
                pixel[:, c] = (torch.rand_like(logits) < logits.sigmoid()).to(pixel)[:, 0]
            else:
                pixel[:, c] = logits.softmax(-1).multinomial(1)[:, 0] / (self.num_bins - 1)
        return pixel


class LogisticMixtureHead(Head):
    """Mixture of rounded logistics, whose locations are linear in the preceding colors.

    Example:
        >>> head = LogisticMixtureHead(8, colors=3, num_bins=4, components=2)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colors: int, num_bins: int, components: int) -> None:
        super().__init__(channels, colors, num_bins)
        self.components = components
        self.sizes = [1, colors, colors, colors * (colors - 1) // 2]
        self.linear = nn.Linear(channels, components * sum(self.sizes))

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """log Σₖ πₖ Π_c P(x_c | x_{<c}, k)."""
        log_weights, loc, scale, slopes = self._mixture_parameters(hidden)
        pixel = pixel.unsqueeze(-2)
        shift = torch.stack([self._shift(c, slopes, pixel) for c in range(self.colors)], -1)
        rounded = RoundedLogistic(loc + shift, scale, self.num_bins, 1, validate_args=False)
        return (log_weights + rounded.log_prob(pixel)).logsumexp(-1)

    def draw(self, hidden: Tensor) -> Tensor:
        """Ancestral sampling: a component, then color by color."""
        log_weights, *parameters = self._mixture_parameters(hidden)
        chosen = log_weights.exp().multinomial(1).unsqueeze(-1)
        loc, scale, slopes = (each.take_along_dim(chosen, -2).squeeze(-2) for each in parameters)
        pixel = torch.zeros_like(loc)
        for c in range(self.colors):
            here = slice(c, c + 1)
            location = loc[:, here] + self._shift(c, slopes, pixel).unsqueeze(-1)
            pixel[:, here] = RoundedLogistic(location, scale[:, here], self.num_bins, 1, validate_args=False).sample()
        return pixel

    def _mixture_parameters(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights ``(..., K)``, and locations, scales ``(..., K, C)`` and slopes ``(..., K, C (C - 1) / 2)``."""
        outputs = self.linear(hidden).unflatten(-1, (self.components, -1))
        logits, loc, scale, slopes = outputs.split(self.sizes, -1)
        return logits.squeeze(-1).log_softmax(-1), loc + 0.5, F.softplus(scale - 2) + MIN_SCALE, slopes.tanh()

    def _shift(self, color: int, slopes: Tensor, pixel: Tensor) -> Tensor:
        """Shift of a color's location, linear in the preceding colors."""
        first = color * (color - 1) // 2
        return (slopes[..., first : first + color] * pixel[..., :color]).sum(-1)
