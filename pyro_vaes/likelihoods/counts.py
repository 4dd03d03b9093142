"""Base class of likelihoods of counts."""

from __future__ import annotations

from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods.base import Likelihood


class CountLikelihood(Likelihood):
    """Base class of likelihoods of independent counts 0, 1, 2 …; encoders take log(1 + x).

    Raises:
        InputError: From ``check``, if data are not counts.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez, Regier, Cole, Jordan, Yosef, 2018), for
        log(1 + x) as the encoder's input.
    """

    kinds = ("counts",)

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
