"""Conditional distributions of one pixel given hidden units."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes import networks
from pyro_vaes.distributions.discretized_logistic import RoundedLogistic

SMALLEST_SCALE = 4e-4  # of a component, about a tenth of the step between 256 levels


class Head(nn.Module):
    """Base class of the distributions of one pixel, given the hidden units that see the pixels before it.

    Args:
        channels: hidden channels.
        colours: number C of colours.
        num_bins: number L of levels.
    """

    def __init__(self, channels: int, colours: int, num_bins: int) -> None:
        super().__init__()
        self.channels, self.colours, self.num_bins = channels, colours, num_bins

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Log-probability in nats: ``(..., channels)`` and ``(..., C)`` to ``(...)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement log_prob(hidden, pixel)")

    def draw(self, hidden: Tensor) -> Tensor:
        """Pixels: ``(N, channels)`` to ``(N, C)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw(hidden)")


class CategoricalHead(Head):
    """A probability for each level of each colour, from a MADE over the colours.

    Example:
        >>> head = CategoricalHead(8, colours=3, num_bins=4)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colours: int, num_bins: int) -> None:
        super().__init__(channels, colours, num_bins)
        outputs = 1 if num_bins == 2 else num_bins
        self.made = networks.MADE(colours, (colours * channels,), outputs, context=channels)

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Σ_c log p(x_c | colours before)."""
        logits = self.made(pixel, self.made.context(hidden))
        if self.num_bins == 2:
            return F.logsigmoid((2 * pixel - 1) * logits.squeeze(-2)).sum(-1)
        level = (pixel * (self.num_bins - 1)).round().long().expand_as(logits[..., 0, :]).unsqueeze(-2)
        return logits.log_softmax(-2).gather(-2, level).sum((-2, -1))

    def draw(self, hidden: Tensor) -> Tensor:
        """One colour after the other."""
        context, pixel = self.made.context(hidden), hidden.new_zeros(len(hidden), self.colours)
        for c in range(self.colours):
            logits = self.made(pixel, context)[..., c]
            if self.num_bins == 2:
                pixel[:, c] = (torch.rand_like(logits) < logits.sigmoid()).to(pixel)[:, 0]
            else:
                pixel[:, c] = logits.softmax(-1).multinomial(1)[:, 0] / (self.num_bins - 1)
        return pixel


class LogisticMixtureHead(Head):
    """A mixture of rounded logistics, whose locations are linear in the colours before.

    Example:
        >>> head = LogisticMixtureHead(8, colours=3, num_bins=4, components=2)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colours: int, num_bins: int, components: int) -> None:
        super().__init__(channels, colours, num_bins)
        self.components = components
        self.sizes = [1, colours, colours, colours * (colours - 1) // 2]
        self.linear = nn.Linear(channels, components * sum(self.sizes))

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Log Σₖ πₖ Π_c P(x_c | colours before)."""
        log_weights, loc, scale, slopes = self._parts(hidden)
        pixel = pixel.unsqueeze(-2)
        before = torch.stack([self._before(c, slopes, pixel) for c in range(self.colours)], -1)
        rounded = RoundedLogistic(loc + before, scale, self.num_bins, 1, validate_args=False)
        return (log_weights + rounded.log_prob(pixel)).logsumexp(-1)

    def draw(self, hidden: Tensor) -> Tensor:
        """A component, then one colour after the other."""
        log_weights, *parts = self._parts(hidden)
        chosen = log_weights.exp().multinomial(1).unsqueeze(-1)
        loc, scale, slopes = (part.take_along_dim(chosen, -2).squeeze(-2) for part in parts)
        pixel = torch.zeros_like(loc)
        for c in range(self.colours):
            here = slice(c, c + 1)
            location = loc[:, here] + self._before(c, slopes, pixel).unsqueeze(-1)
            pixel[:, here] = RoundedLogistic(location, scale[:, here], self.num_bins, 1, validate_args=False).sample()
        return pixel

    def _parts(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights ``(..., K)``, and locations, scales ``(..., K, C)`` and slopes ``(..., K, C (C - 1) / 2)``."""
        outputs = self.linear(hidden).unflatten(-1, (self.components, -1))
        logits, loc, raw_scale, raw_slopes = outputs.split(self.sizes, -1)
        scale = F.softplus(raw_scale - 2) + SMALLEST_SCALE
        return logits.squeeze(-1).log_softmax(-1), loc + 0.5, scale, raw_slopes.tanh()

    def _before(self, colour: int, slopes: Tensor, pixel: Tensor) -> Tensor:
        """What the colours before add to a colour's location."""
        first = colour * (colour - 1) // 2
        return (slopes[..., first : first + colour] * pixel[..., :colour]).sum(-1)
