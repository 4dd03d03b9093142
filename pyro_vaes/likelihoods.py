"""Likelihoods p(x | features): modules that turn a decoder's output into a distribution over x."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions import SharedScaleNormal
from pyro_vaes.errors import InputError

__all__ = ["Bernoulli", "Gaussian", "Likelihood"]


class Likelihood(nn.Module):
    """Base class of likelihoods p(x | features).

    A new likelihood implements :meth:`forward`; one that a ``Laplace`` guide can use implements
    :meth:`fisher` as well, and :meth:`score` where automatic differentiation is too slow.

    Attributes:
        event_dim: number of dimensions of one datum. ``VAE`` sets it; before that, features of four or more
            dimensions are taken for images ``(..., C, H, W)`` and others for vectors ``(..., D)``.
        quadratic: whether log p(x | features) is quadratic in the features with one curvature for all data, so
            that :meth:`fisher` is a constant and :meth:`score` affine.
    """

    event_dim: int | None = None
    quadratic: bool = False

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """p(x | features), with the event shape of x."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward(features)")

    def mean(self, features: Tensor) -> Tensor:
        """E[x | features], shape ``(..., *event_shape)``."""
        return self(features).mean

    def fisher(self, features: Tensor) -> Tensor:
        """Diagonal of the expected -∇² log p(x | features) in the features, shape of the features."""
        raise NotImplementedError(
            f"{type(self).__name__} has no fisher(features), which this guide needs: "
            "implement it, or take a guide that does not ask for it, such as MeanField"
        )

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """∇ log p(x | features) in the features, shape of the features."""
        return torch.func.grad(lambda value: self(value).log_prob(x).sum())(features)

    def initialize(self, x: Tensor) -> None:
        """Set what is learnt from a look at the training data; by default nothing."""

    def check(self, x: Tensor) -> None:
        """Refuse data outside the support.

        Raises:
            InputError: says which values, and what to do.
        """

    def to_event(self, base: dist.TorchDistribution) -> dist.TorchDistribution:
        """Declare the dimensions of one datum to be the event."""
        return base.to_event(self._dims(len(base.batch_shape)))

    def _dims(self, dims: int) -> int:
        """Dimensions of one datum among all those of a batch of features."""
        return self.event_dim or (3 if dims >= 4 else 1)


class Bernoulli(Likelihood):
    """Binary data: p(x | f) = Π σ(f)ˣ (1 - σ(f))¹⁻ˣ, the features being logits.

    Example:
        >>> Bernoulli()(torch.zeros(2, 1, 8, 8)).log_prob(torch.ones(2, 1, 8, 8))
        tensor([-44.3614, -44.3614])
    """

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent Bernoulli distributions with these logits."""
        return self.to_event(dist.Bernoulli(logits=features))

    def mean(self, features: Tensor) -> Tensor:
        """σ(features)."""
        return features.sigmoid()

    def fisher(self, features: Tensor) -> Tensor:
        """σ(f) (1 - σ(f))."""
        probability = features.sigmoid()
        return probability * (1 - probability)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """X - σ(f)."""
        return x - features.sigmoid()

    def check(self, x: Tensor) -> None:
        """Refuse values other than 0 and 1."""
        other = x[(x != 0) & (x != 1)]
        if other.numel():
            raise InputError(
                f"Bernoulli needs binary data, but x holds {other[0].item():.4g}: load the data with "
                'binarize="dynamic", "static" or "threshold" (command line: --binarize dynamic), '
                "or take the Gaussian likelihood"
            )


class Gaussian(Likelihood):
    """Real data: p(x | f) = N(x; f, σ²), the features being the mean.

    Args:
        scale: σ. Without one it is set from the training data when training starts, to the root mean squared
            deviation from the per-pixel mean (Variational Laplace Autoencoders; Park, Kim, Kim; 2019).
        shape: shape of σ: ``()`` is one scalar, the event shape is one σ a pixel.
        learn: whether σ is learnt.

    Example:
        >>> Gaussian(scale=0.5, learn=False)(torch.zeros(2, 3)).log_prob(torch.zeros(2, 3))
        tensor([-0.6774, -0.6774])
    """

    quadratic = True

    def __init__(self, scale: float | None = None, shape: Sequence[int] = (), learn: bool = True) -> None:
        super().__init__()
        if scale is None and not learn:
            raise InputError("a Gaussian whose scale is not learnt needs one: Gaussian(scale=0.25, learn=False)")
        if scale is not None and not 0 < scale < math.inf:
            raise InputError(f"scale is {scale}: expected a positive number, for example scale=0.25")
        self.from_data = scale is None
        log_scale = torch.full(tuple(shape), math.log(scale or 1.0))
        self.log_scale: Tensor
        if learn:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Independent normal distributions around the features."""
        return SharedScaleNormal(features, self.log_scale.exp(), self._dims(features.dim()))

    def mean(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features

    def fisher(self, features: Tensor) -> Tensor:
        """1 / σ²."""
        return (-2 * self.log_scale).exp().expand_as(features)

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """(x - f) / σ²."""
        return (x - features) * (-2 * self.log_scale).exp()

    def initialize(self, x: Tensor) -> None:
        """Set σ from the data's squared deviation from the per-pixel mean."""
        if self.from_data:
            deviation = (x - x.mean(0)).square().mean(0)
            variance = deviation if self.log_scale.dim() else deviation.mean()
            with torch.no_grad():
                self.log_scale.copy_(0.5 * variance.clamp_min(1e-6).log())
