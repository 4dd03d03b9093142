"""Checks of guides."""

from __future__ import annotations

from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.testing.models import MODEL_CHECKS
from pyro_vaes.testing.pairs import Check, MakeGuide, MakePair, pair, run_checks

#: The checks of ``check_guide``.
GUIDE_CHECKS: tuple[Check, ...] = MODEL_CHECKS


def check_guide(guide: MakeGuide) -> None:
    """Check a guide on images and vectors, with two priors and two likelihoods.

    Args:
        guide: the guide's class, or a function of model and encoder that returns a guide.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes.guides import LowRank
        >>> check_guide(LowRank)
    """
    name = getattr(guide, "__name__", repr(guide))
    makes: list[MakePair] = [
        lambda: pair(guide, lambda: Gaussian(0.5), StandardNormal),
        lambda: pair(guide, Bernoulli, GaussianMixture, shape=(5,)),
    ]
    run_checks(name, GUIDE_CHECKS, makes)
