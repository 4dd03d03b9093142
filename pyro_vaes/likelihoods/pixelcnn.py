"""Autoregressive likelihoods of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_vaes import networks
from pyro_vaes.distributions import BatchedDistribution
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.discretized_logistic import RoundedLogistic, _Levels
from pyro_vaes.networks.shapes import checked_sizes

SMALLEST_SCALE = 4e-4  # of a component, about a tenth of the step between 256 levels
IMAGES_A_PASS = 512  # of many more the hidden units leave a CPU's caches, which made it three times slower


class PixelCNN(Likelihood):
    """Autoregressive images: p(x | f) = Πᵢ p(xᵢ | the pixels before i in a window, f), each colour after the others.

    The features are F maps of the image's height and width, which a decoder makes of z. What the window can predict
    is left to this likelihood; what it cannot has to be told by z. ``log_prob`` is one pass of the masked network
    over x; a draw goes pixel by pixel, from torch's generator. There is no closed-form mean: :meth:`mean` is a draw.
    A guide that asks for ``fisher``, such as ``Laplace``, does not fit.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        levels: number L of levels r / (L - 1) of the data: 2 for binary images, 256 for 8-bit ones.
        window: ``(A, B)``, A wide and B tall above the pixel and ⌈(A - 1) / 2⌉ pixels on its left; by default all
            pixels before it.
        layers: number of masked layers.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Attributes:
        network: the masked network.

    Shapes:
        features ``(..., F, H, W)``; batch shape ``(...)``, event shape ``(C, H, W)``.

    Raises:
        InputError: for sizes that are no positive whole numbers, a window larger than the image, tied layers that
            would differ in size, or features of another shape; by :meth:`check`, for data of another shape or off
            the levels.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016);
        Variational Lossy Autoencoder (Chen et al., 2017).

    Example:
        >>> likelihood = PixelCNN((1, 8, 8), features=4, window=(5, 2), layers=2, channels=8)
        >>> p = likelihood(torch.zeros(3, 4, 8, 8))
        >>> images = p.sample()
        >>> images.shape, p.log_prob(images).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([3]))
    """

    features_shape: torch.Size

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        levels: int = 2,
        window: Sequence[int] | None = None,
        layers: int = 6,
        channels: int = 32,
        tied: bool = False,
    ) -> None:
        super().__init__()
        checked_sizes(levels=(levels,))
        if levels < 2:
            raise InputError(f"levels is {levels}: expected the number of levels of the data, 2 or more")
        self.network = networks.PixelCNN(event_shape, features, window, layers, channels, tied)
        self.levels = levels
        self.features_shape = torch.Size((features, *event_shape[1:]))
        self.preparation = self.prepared(levels)  # type: ignore[misc]
        self.head: Head = CategoricalHead(channels, event_shape[0], levels)

    @classmethod
    def build(cls, event_shape: Sequence[int], features: int = 4, **options: Any) -> PixelCNN:
        """The likelihood of images of this shape."""
        return cls(event_shape, features, **options)

    @classmethod
    def prepared(cls, levels: int = 2, **options: Any) -> Mapping[str, Any]:
        """Binary data are binarised dynamically, others stay on their levels."""
        return {"binarize": "dynamic"} if levels == 2 else {"dequantize": False}

    def forward(self, features: Tensor) -> AutoregressiveImage:
        """The distribution of images at these features."""
        if features.shape[-3:] != self.features_shape:
            raise InputError(
                f"the decoder gives features {tuple(features.shape[1:])}, but this {type(self).__name__} expects maps "
                f"{tuple(self.features_shape)}: give the decoder event_shape={tuple(self.features_shape)}"
            )
        return AutoregressiveImage(features, self.network, self.head)

    def mean(self, features: Tensor) -> Tensor:
        """A draw of x, an unbiased estimate of E[x | features], which has no closed form."""
        return self(features).sample()

    def check(self, x: Tensor) -> None:
        """Refuse images of another shape and values off the levels."""
        if x.shape[1:] != self.network.event_shape:
            raise InputError(
                f"x holds images {tuple(x.shape[1:])}, but this {type(self).__name__} was made for "
                f"{tuple(self.network.event_shape)}: give it event_shape={tuple(x.shape[1:])}"
            )
        other = x[~_Levels(self.levels).check(x)]
        if other.numel():
            hint = 'binarize="dynamic"' if self.levels == 2 else "dequantize=False"
            raise InputError(
                f"{type(self).__name__} with levels={self.levels} needs data on the levels r / {self.levels - 1}, but "
                f"x holds {other[0].item():.4g}: load the data with {hint}, or give the number of their levels"
            )


class PixelCNNPP(PixelCNN):
    """Autoregressive colour images whose pixels are mixtures of rounded logistics.

    With K components of weights πₖ for the whole pixel, each colour's location linear in the colours before it::

        p(x_rgb | ·) = Σₖ πₖ Π_c P(x_c; μ_kc + Σ_{d<c} a_kcd x_d, s_kc)

    where P is a logistic variable rounded to the L levels, open at both ends (see ``DiscretizedLogistic``). All else
    is as in :class:`PixelCNN`; the masked network is the same, not the published one with its down-sampling.

    Args:
        event_shape: shape ``(C, H, W)`` of an image.
        features: number F of feature maps.
        levels: number L of levels r / (L - 1) of the data.
        components: number K of components.
        window: ``(A, B)``; by default all pixels before.
        layers: number of masked layers.
        channels: hidden channels.
        tied: whether all masked layers after the first share their weights.

    Shapes:
        Calling it takes features ``(..., F, H, W)``, for a distribution over x of batch shape ``(...)`` and event shape
        ``(C, H, W)``.

    Raises:
        InputError: as :class:`PixelCNN`.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans, Karpathy, Chen, Kingma, 2017).

    Example:
        >>> likelihood = PixelCNNPP((3, 4, 4), features=2, levels=5, components=3, layers=2, channels=8)
        >>> likelihood(torch.zeros(2, 2, 4, 4)).sample().shape
        torch.Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int,
        levels: int = 256,
        components: int = 10,
        window: Sequence[int] | None = None,
        layers: int = 6,
        channels: int = 32,
        tied: bool = False,
    ) -> None:
        super().__init__(event_shape, features, levels, window, layers, channels, tied)
        checked_sizes(components=(components,))
        self.head = LogisticMixtureHead(channels, event_shape[0], levels, components)

    @classmethod
    def prepared(cls, levels: int = 256, **options: Any) -> Mapping[str, Any]:
        """As of :class:`PixelCNN`, of another number of levels by default."""
        return super().prepared(levels)


class Head(nn.Module):
    """Base class of the distributions of one pixel, given the hidden units that see the pixels before it.

    Args:
        channels: hidden channels.
        colours: number C of colours.
        levels: number L of levels.
    """

    def __init__(self, channels: int, colours: int, levels: int) -> None:
        super().__init__()
        self.channels, self.colours, self.levels = channels, colours, levels

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Log-probability in nats: ``(..., channels)`` and ``(..., C)`` to ``(...)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement log_prob(hidden, pixel)")

    def draw(self, hidden: Tensor) -> Tensor:
        """Pixels: ``(N, channels)`` to ``(N, C)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw(hidden)")


class CategoricalHead(Head):
    """A probability for each level of each colour, from a MADE over the colours.

    Example:
        >>> head = CategoricalHead(8, colours=3, levels=4)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colours: int, levels: int) -> None:
        super().__init__(channels, colours, levels)
        outputs = 1 if levels == 2 else levels
        self.made = networks.MADE(colours, (colours * channels,), outputs, context=channels)

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Σ_c log p(x_c | colours before)."""
        logits = self.made(pixel, self.made.context(hidden))
        if self.levels == 2:
            return F.logsigmoid((2 * pixel - 1) * logits.squeeze(-2)).sum(-1)
        level = (pixel * (self.levels - 1)).round().long().expand_as(logits[..., 0, :]).unsqueeze(-2)
        return logits.log_softmax(-2).gather(-2, level).sum((-2, -1))

    def draw(self, hidden: Tensor) -> Tensor:
        """One colour after the other."""
        context, pixel = self.made.context(hidden), hidden.new_zeros(len(hidden), self.colours)
        for c in range(self.colours):
            logits = self.made(pixel, context)[..., c]
            if self.levels == 2:
                pixel[:, c] = (torch.rand_like(logits) < logits.sigmoid()).to(pixel)[:, 0]
            else:
                pixel[:, c] = logits.softmax(-1).multinomial(1)[:, 0] / (self.levels - 1)
        return pixel


class LogisticMixtureHead(Head):
    """A mixture of rounded logistics, whose locations are linear in the colours before.

    Example:
        >>> head = LogisticMixtureHead(8, colours=3, levels=4, components=2)
        >>> head.log_prob(torch.zeros(5, 8), torch.zeros(5, 3)).shape, head.draw(torch.zeros(5, 8)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(self, channels: int, colours: int, levels: int, components: int) -> None:
        super().__init__(channels, colours, levels)
        self.components = components
        self.sizes = [1, colours, colours, colours * (colours - 1) // 2]
        self.linear = nn.Linear(channels, components * sum(self.sizes))

    def log_prob(self, hidden: Tensor, pixel: Tensor) -> Tensor:
        """Log Σₖ πₖ Π_c P(x_c | colours before)."""
        log_weights, loc, scale, slopes = self._parts(hidden)
        pixel = pixel.unsqueeze(-2)
        before = torch.stack([self._before(c, slopes, pixel) for c in range(self.colours)], -1)
        rounded = RoundedLogistic(loc + before, scale, self.levels, 1, validate_args=False)
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
            pixel[:, here] = RoundedLogistic(location, scale[:, here], self.levels, 1, validate_args=False).sample()
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


class AutoregressiveImage(BatchedDistribution):
    """Images whose pixels come one after the other, at feature maps.

    Args:
        features: ``(..., F, H, W)``.
        network: gives hidden units at each pixel from the pixels before and the features.
        head: the distribution of a pixel at its hidden units.
        validate_args: whether torch checks the arguments.

    Shapes:
        Batch shape ``(...)``, event shape ``(C, H, W)``.
    """

    arg_constraints = {"features": constraints.independent(constraints.real, 3)}  # noqa: RUF012  (torch's own form)

    def __init__(
        self, features: Tensor, network: networks.PixelCNN, head: Head, validate_args: bool | None = None
    ) -> None:
        self.features, self.network, self.head = features, network, head
        super().__init__(features.shape[:-3], network.event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """All images of levels."""
        return constraints.independent(_Levels(self.head.levels), 3)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution, broadcast to another batch shape."""
        new = super().expand(batch_shape, _instance)
        new.network, new.head = self.network, self.head
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats, by one pass of the network, or few where there are many images."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-3], self.batch_shape)
        x = value.expand(shape + self.event_shape).reshape(-1, *self.event_shape)
        passes = zip(x.split(IMAGES_A_PASS), self._features(shape).split(IMAGES_A_PASS), strict=True)
        return torch.cat([self._log_prob(*each) for each in passes]).reshape(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size(), progress: bool = False) -> Tensor:
        """Draws, pixel by pixel; ``progress`` shows a bar."""
        shape = torch.Size(sample_shape) + self.batch_shape
        x = self.network.generate(self._features(shape), self.head.draw, progress)
        return x.reshape(shape + self.event_shape)

    def _log_prob(self, x: Tensor, features: Tensor) -> Tensor:
        """``(N, C, H, W)`` at ``(N, F, H, W)`` to ``(N,)``."""
        hidden = self.network(x, features)
        return self.head.log_prob(hidden, x.movedim(1, -1)).sum((-2, -1))

    def _features(self, shape: Sequence[int]) -> Tensor:
        maps = self.features.shape[-3:]
        return self.features.expand(*shape, *maps).reshape(-1, *maps)
