"""Checks of priors."""

from __future__ import annotations

import torch

from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.priors import Prior
from pyro_vaes.testing.models import PAIR_CHECKS
from pyro_vaes.testing.pairs import (
    DRAWS,
    Check,
    MakePair,
    MakePrior,
    agree,
    assert_one_event,
    narrower_normal,
    pair,
    run_checks,
)


def prior_shapes(make: MakePair) -> None:
    """The prior has batch shape () and event shape (Z,), and its draws and densities fit them."""
    prior = make().model.priors["z"]
    p, size = prior(), prior.latent_dim
    assert_one_event(p, size)
    z = p.sample((5, 2))
    assert (tuple(z.shape), tuple(p.log_prob(z).shape)) == ((5, 2, size), (5, 2))


@torch.no_grad()
def prior_draws_have_its_density(make: MakePair) -> None:
    """The draws follow the density, and the density is normalized."""
    p = make().model.priors["z"]()
    agree(p, narrower_normal(p), DRAWS)


def prior_score_and_precision(make: MakePair) -> None:
    """The score is the gradient of log p, and the precision is positive definite, as ``Laplace`` requires."""
    prior = make().model.priors["z"]
    z = torch.randn(2, 5, prior.latent_dim)
    torch.testing.assert_close(prior.score(z), Prior.score(prior, z))
    smallest = torch.linalg.eigvalsh(prior.precision(z)).min()
    assert smallest > 0, f"precision(z) has an eigenvalue {smallest:.3g}: it must be positive definite"


#: The checks of ``check_prior``, besides those of a pair.
PRIOR_CHECKS: tuple[Check, ...] = (prior_shapes, prior_draws_have_its_density, prior_score_and_precision)


def check_prior(prior: MakePrior) -> None:
    """Check a prior by itself and with the guides ``MeanField`` and ``Laplace``.

    Args:
        prior: the prior's class, or a function of the latent size that returns a prior.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes.priors import GaussianMixture
        >>> check_prior(GaussianMixture)
    """
    name = getattr(prior, "__name__", repr(prior))
    makes = [lambda guide=guide: pair(guide, prior=prior) for guide in (MeanField, Laplace)]
    run_checks(name, (*PRIOR_CHECKS, *PAIR_CHECKS), makes)
