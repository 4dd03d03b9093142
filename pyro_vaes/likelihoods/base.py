"""Base classes of likelihoods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.partially_observed import PartiallyObserved
from pyro_vaes.errors import InputError
from pyro_vaes.missing import fill, nan_is_missing
from pyro_vaes.networks.probe import reference_weight


class Likelihood(nn.Module):
    """Base class of likelihoods p(x | features).

    A new likelihood implements :meth:`forward`; for use with a ``Laplace`` guide it implements :meth:`fisher` as
    well, and :meth:`score` if automatic differentiation is too slow.

    Attributes:
        event_dim: number of dimensions of one datum. ``VAE`` sets it; until then, features of four or more
            dimensions are interpreted as images ``(..., C, H, W)`` and others as vectors ``(..., D)``.
        quadratic: whether log p(x | features) is quadratic in the features with the same curvature for all data, so
            that :meth:`fisher` is constant and :meth:`score` affine.
        kinds: names of the kinds of data that it is for, see ``pyro_vaes.data.kinds``; none for any.
        preprocessing: the arguments of ``data.load`` that give pixels in the support; the default of the command line.
        features_shape: shape of the features of one datum, if it differs from that of the datum.
        neutral: a value in the support of every pixel, which stands for missing ones where nothing depends on it.
        size_factors: whether observations have an :meth:`offset`, so that the likelihood is p(x | features, size of x).
        initialized: whether ``fit`` set what is learned from a look at the data, or weights were loaded: a model that
            is fitted again goes on from what it learned.

    Shapes:
        Features ``(..., *features_shape)`` to a distribution over x with batch shape ``(...)``.
        ``mean`` is ``(..., *event_shape)``, ``fisher`` and ``score`` have the shape of the features.
    """

    event_dim: int | None = None
    quadratic: bool = False
    kinds: ClassVar[Sequence[str]] = ()
    preprocessing: ClassVar[Mapping[str, Any]] = {}
    features_shape: Sequence[int] | None = None
    neutral: float = 0.0
    size_factors: bool = False
    initialized: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialized", torch.tensor(False))

    @classmethod
    def build(cls, event_shape: Sequence[int], **options: Any) -> Self:
        """The likelihood for data of this shape, which most likelihoods ignore."""
        return cls(**options)

    @classmethod
    def required_preprocessing(cls, **options: Any) -> Mapping[str, Any]:
        """The ``preprocessing`` for a likelihood with these options."""
        return cls.preprocessing

    def __call__(self, features: Tensor) -> dist.TorchDistribution:
        """p(x | features); where :func:`~pyro_vaes.missing_values` are declared, its ``log_prob`` leaves them out.

        Raises:
            InputError: If missing values are declared, and pixels are not independent given the features.
        """
        p: dist.TorchDistribution = super().__call__(features)
        if nan_is_missing() and not isinstance(p, PartiallyObserved):
            raise InputError(
                f"{type(self).__name__} gives no density of a part of x, but x has missing values: take a likelihood "
                "of independent pixels, such as Bernoulli, Categorical or DiscretizedLogistic, and in one of your own "
                "return self.to_event(distribution of single pixels)"
            )
        return p

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """p(x | features), with the event shape of x."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward(features)")

    def offset(self, features: Tensor, x: Tensor) -> Tensor:
        """Features with the offset of an observation x, such as its log size factor; by default as they are."""
        return features

    def observation(self, features: Tensor, x: Tensor) -> dist.TorchDistribution:
        """The distribution of an observation x, p(x | features) with its :meth:`offset`."""
        return self(self.offset(features, x))

    def mean(self, features: Tensor) -> Tensor:
        """E[x | features], shape ``(..., *event_shape)``."""
        return self(features).mean

    def fisher(self, features: Tensor) -> Tensor:
        """Diagonal of the expected -∇² log p(x | features) in the features, shape of the features."""
        raise NotImplementedError(
            f"{type(self).__name__} has no fisher(features), which this guide needs: "
            "implement it, or take a guide that does not need it, such as MeanField"
        )

    def score(self, features: Tensor, x: Tensor) -> Tensor:
        """∇ log p(x | features) in the features, shape of the features."""
        return torch.func.grad(lambda value: self(value).log_prob(x).sum())(features)

    def seen(self, x: Tensor) -> Tensor:
        """Whether the value of x that a feature tells of is not missing, shape of the features.

        Raises:
            InputError: If the features have another shape than x.
        """
        if self.features_shape is not None and tuple(self.features_shape) != tuple(
            x.shape[-len(self.features_shape) :]
        ):
            raise InputError(
                f"{type(self).__name__} has features {tuple(self.features_shape)}, of another shape than x, which has "
                "missing values: implement seen(x), which says for each feature whether its pixel was seen"
            )
        return ~x.isnan()

    def seen_fisher(self, features: Tensor, x: Tensor) -> Tensor:
        """:meth:`fisher` with the offset of x, 0 in the features of missing values."""
        fisher = self.fisher(self.offset(features, x))
        return torch.where(self.seen(x), fisher, 0) if nan_is_missing() else fisher

    def seen_score(self, features: Tensor, x: Tensor) -> Tensor:
        """:meth:`score` with the offset of x, 0 in the features of missing values."""
        features = self.offset(features, x)
        if not nan_is_missing():
            return self.score(features, x)
        return torch.where(self.seen(x), self.score(features, self.filled(x)), 0)

    def filled(self, x: Tensor) -> Tensor:
        """x with ``neutral`` for missing values, of a density that leaves them out."""
        return torch.where(x.isnan(), self.neutral, x)

    def encoder_input(self, x: Tensor) -> Tensor:
        """x as encoders take it; by default as it is. Missing values may stay NaN."""
        return x

    def filled_encoder_input(self, x: Tensor) -> Tensor:
        """:meth:`encoder_input` with 0 for missing values, as in MIWAE (Mattei, Frellsen, 2019)."""
        return fill(self.encoder_input(x), 0.0)

    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization, by default none; x may hold NaN for missing values."""

    def check(self, x: Tensor) -> None:
        """Check that data lie in the support.

        Raises:
            InputError: If they do not; names the values.
        """

    def set_event_dim(self, event_dim: int) -> None:
        """Set the number of dimensions of one datum.

        Raises:
            InputError: If it was set to another number before, by another model.
        """
        if self.event_dim not in (None, event_dim):
            raise InputError(
                f"this likelihood belongs to a model of data with {self.event_dim} dimensions, but this decoder gives "
                f"{event_dim}: give each model a likelihood of its own"
            )
        self.event_dim = event_dim

    def probe(self, features_shape: Sequence[int]) -> torch.Size:
        """Shape of one datum, from the distribution at features 0 of this shape.

        Raises:
            InputError: If the likelihood does not take such features as those of one datum.
        """
        name, like = type(self).__name__, reference_weight(self)
        with torch.no_grad(), pyro.validation_enabled(False):
            try:
                p = self(torch.zeros(1, *features_shape, dtype=like.dtype, device=like.device))
            except NotImplementedError:
                raise
            except (RuntimeError, TypeError, IndexError) as error:
                raise InputError(
                    f"the {name} likelihood does not take the decoder's features {tuple(features_shape)} "
                    f"({type(error).__name__}: {error}): give the decoder another output, or another likelihood"
                ) from error
        if p.batch_shape != (1,):
            raise InputError(
                f"for the decoder's features {tuple(features_shape)} the {name} likelihood has batch shape "
                f"{tuple(p.batch_shape)} and event shape {tuple(p.event_shape)}, expected one event for each datum, "
                "batch shape (1,): return self.to_event(distribution)"
            )
        return p.event_shape

    def to_event(self, base: dist.TorchDistribution) -> dist.TorchDistribution:
        """Declare the dimensions of one datum, of independent pixels, as the event; missing ones are left out."""
        dims = self._dims(len(base.batch_shape))
        return PartiallyObserved(base, dims, self.neutral) if nan_is_missing() else base.to_event(dims)

    def _dims(self, dims: int) -> int:
        """Number of dimensions of one datum, for features with this number of dimensions."""
        return self.event_dim or (3 if dims >= 4 else 1)


class LocationScale(Likelihood):
    """Base class of likelihoods whose features are a location, and whose scale is shared by all data.

    Args:
        scale: the scale; by default initialized from the training data such that the standard deviation equals the
            root mean squared deviation from the per-pixel mean.
        shape: shape of the scale: ``()`` for a scalar, the event shape for one scale per pixel.
        learn: whether the scale is learned.

    Attributes:
        unit_deviation: standard deviation of the family at scale 1.

    Raises:
        InputError: If the scale is not positive, or neither given nor learned.
    """

    unit_deviation: float = 1.0

    def __init__(self, scale: float | None = None, shape: Sequence[int] = (), learn: bool = True) -> None:
        super().__init__()
        if scale is None and not learn:
            name = type(self).__name__
            raise InputError(f"a {name} whose scale is not learned needs one: {name}(scale=0.25, learn=False)")
        if scale is not None and not 0 < scale < math.inf:
            raise InputError(f"scale is {scale}: expected a positive number, for example scale=0.25")
        self.from_data = scale is None
        log_scale = torch.full(tuple(shape), math.log(scale or 1.0))
        self.log_scale: Tensor
        if learn:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def probe(self, features_shape: Sequence[int]) -> torch.Size:
        """Shape of one datum, that of its features, to which the scale must broadcast.

        Raises:
            InputError: If it does not.
        """
        check_shared_shape(self, "scales", self.log_scale.shape, features_shape)
        return super().probe(features_shape)

    def initialize(self, x: Tensor) -> None:
        """Initialize the scale from the data's squared deviation from the per-pixel mean."""
        if self.from_data:
            deviation = (x - x.nanmean(0)).square()
            variance = deviation.nanmean(0) if self.log_scale.dim() else deviation.nanmean()
            with torch.no_grad():
                self.log_scale.copy_(0.5 * variance.clamp_min(1e-6).log() - math.log(self.unit_deviation))


def check_shared_shape(likelihood: Likelihood, what: str, shape: Sequence[int], event_shape: Sequence[int]) -> None:
    """Check that parameters shared by all data broadcast to one datum.

    Args:
        likelihood: the likelihood, for the error.
        what: the parameters, in the plural.
        shape: shape of the parameters.
        event_shape: shape of one datum, that of its features.

    Raises:
        InputError: If they do not.
    """
    name = type(likelihood).__name__
    sizes = zip(reversed(shape), reversed(event_shape), strict=False)
    if len(shape) > len(event_shape) or any(size not in (1, most) for size, most in sizes):
        raise InputError(
            f"the {name} likelihood has {what} of shape {tuple(shape)}, but the decoder's features "
            f"have the shape {tuple(event_shape)}: give the {what.removesuffix('s')} the shape of one datum, or ()"
        )
