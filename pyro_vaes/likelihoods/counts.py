"""Base class of likelihoods of counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood


class CountLikelihood(Likelihood):
    """Base class of likelihoods of independent counts 0, 1, 2 …; encoders take log(1 + x).

    The features f are log means. With size factors, the mean of each count of an observation x is s(x) eᶠ::

        s(x) = mean of the counts of x / mean of the counts of the training data

    of the counts that were seen, and at least one in all. The size s(x) is observed, an offset log s(x) of the
    features: model, guides and estimates are those of p(x | z, s(x)), which is another density than p(x | z). Without
    an x, the size is 1: in draws and means of features. Those of another size have the features f + log s.

    Args:
        size_factors: whether there are size factors.

    Attributes:
        mean_count: mean of the counts of the training data; ``fit`` sets it, and until then it is 1. In stock Pyro
            :meth:`initialize` does.

    Raises:
        InputError: From ``check``, if data are not counts.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez, Regier, Cole, Jordan, Yosef, 2018), for
        log(1 + x) as the encoder's input;
        Differential expression analysis for sequence count data (Anders, Huber, 2010), for size factors.
    """

    kinds = ("counts",)
    mean_count: Tensor

    def __init__(self, size_factors: bool = False) -> None:
        super().__init__()
        self.size_factors = size_factors
        if size_factors:
            self.register_buffer("mean_count", torch.tensor(1.0))

    def offset(self, features: Tensor, x: Tensor) -> Tensor:
        """Features with log s(x) added."""
        if not self.size_factors:
            return features
        dims = tuple(range(-self._dims(x.dim()), 0))
        return features + (_mean_count(x, dims) / self.mean_count).log()

    def initialize(self, x: Tensor) -> None:
        """Set the mean of the counts, which size factors are relative to."""
        if self.size_factors:
            self.mean_count.copy_(_mean_count(x, tuple(range(x.dim()))).squeeze())

    def encoder_input(self, x: Tensor) -> Tensor:
        """log(1 + x), in which large counts do not swamp others."""
        return x.log1p()

    def check(self, x: Tensor) -> None:
        """Check that all values are counts 0, 1, 2 …"""
        other = x[~((x >= 0) & (x == x.round()) & x.isfinite())]
        if other.numel():
            raise InputError(
                f"{type(self).__name__} needs counts 0, 1, 2 …, but x holds {other[0].item():.4g}: pixels scaled to "
                "[0, 1] are not counts, take the Gaussian or the DiscretizedLogistic likelihood for them, or load "
                'counts with kind="counts"'
            )


def _mean_count(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean over these dimensions, which stay, of the counts that were seen; of no count it is that of a single one."""
    return x.nansum(dims, keepdim=True).clamp_min(1) / (~x.isnan()).sum(dims, keepdim=True)
