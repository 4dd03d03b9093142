"""Checks of likelihoods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, constraints

from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.missing import hide, missing_values
from pyro_vaes.testing.models import PAIR_CHECKS
from pyro_vaes.testing.pairs import Check, MakeLikelihood, MakePair, agree, built, of_shape, pair, run_checks
from pyro_vaes.traces import total

DRAWS = 20_000


def likelihood_shapes(make: MakePair) -> None:
    """Events, mean and draws have the shape of a datum, and the score that of the features, for any leading sizes."""
    (likelihood, features), shape = _case(make), tuple(make().x.shape[1:])
    wide = features.expand(3, 2, *features.shape[1:])
    p = likelihood(wide)
    assert (tuple(p.batch_shape), tuple(p.event_shape)) == ((3, 2), shape), (
        f"for features {tuple(wide.shape)} the likelihood has batch shape {tuple(p.batch_shape)} and event shape "
        f"{tuple(p.event_shape)}, expected (3, 2) and {shape}: return self.to_event(distribution)"
    )
    assert likelihood.mean(wide).shape == p.sample().shape == (3, 2, *shape)
    assert likelihood.score(wide, p.sample()).shape == wide.shape
    likelihood.check(p.sample())


@torch.no_grad()
def likelihood_draws_have_its_density(make: MakePair) -> None:
    """The draws follow the density; the density of a real-valued x is normalized."""
    likelihood, features = _case(make)
    p: Any = likelihood(features)
    other: Any = likelihood(0.8 * features)
    if constraints.is_dependent(p.support) or p.support.base_constraint is constraints.real:
        draws = p.sample((5000,))
        other = Independent(Normal(draws.mean(0), 0.8 * draws.std(0)), len(p.event_shape))
    agree(p, other, DRAWS)


@torch.no_grad()
def likelihood_mean_is_that_of_draws(make: MakePair) -> None:
    """``mean(features)`` is the mean of draws, within 5 standard errors."""
    likelihood, features = _case(make)
    draws = likelihood(features).sample((DRAWS,))
    error = (draws.mean(0) - likelihood.mean(features)).abs() / (draws.std(0) / DRAWS**0.5).clamp_min(1e-6)
    assert (error < 5).all(), f"mean(features) is {error.max():.1f} standard errors from the mean of draws"


def likelihood_score_is_the_gradient(make: MakePair) -> None:
    """``score`` is the gradient of log p(x | features) in the features."""
    likelihood, features = _case(make)
    x = likelihood(features).sample()
    torch.testing.assert_close(
        likelihood.score(features, x), Likelihood.score(likelihood, features, x), rtol=1e-4, atol=1e-4
    )


def likelihood_fisher_is_the_expected_curvature(make: MakePair) -> None:
    """``fisher``, if implemented, is E[-d² log p(x | features)] = E[score²], within 5 standard errors."""
    likelihood, features = _case(make)
    if not has_fisher(likelihood):
        return
    with torch.no_grad():
        draws = likelihood(features).sample((DRAWS,))
        squares = likelihood.score(features.expand(DRAWS, *features.shape), draws).square()
        error = (squares.mean(0) - likelihood.fisher(features)).abs() / (squares.std(0) / DRAWS**0.5).clamp_min(1e-6)
    assert (error < 5).all(), (
        f"fisher(features) is {error.max():.1f} standard errors from the mean squared score: it must be the diagonal "
        "of the expected -∇² log p(x | features)"
    )


def likelihood_leaves_out_missing_values(make: MakePair) -> None:
    """Log-densities of the seen and of the hidden values add up to log p(x | features); so do score and information.

    An offset, of features in score and information, is that of either part.
    """
    likelihood, features = _case(make)
    x = likelihood(features).sample()
    mask = torch.rand(x.shape) < 0.5
    parts = [hide(x, mask), hide(x, ~mask)]
    with missing_values():
        log_prob = total(likelihood(features).log_prob(part) for part in parts)
        gradients = [Likelihood.score(likelihood, features, part) for part in parts]
    torch.testing.assert_close(log_prob, likelihood(features).log_prob(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(total(gradients), Likelihood.score(likelihood, features, x), rtol=1e-4, atol=1e-4)
    if not has_fisher(likelihood):
        return
    at, hidden = [likelihood.offset(features, part) for part in parts], ~likelihood.seen(parts[0])
    with missing_values():
        scores = [likelihood.seen_score(features, part) for part in parts]
        information = [likelihood.seen_fisher(features, part) for part in parts]
        gradients = [Likelihood.score(likelihood, *each) for each in zip(at, parts, strict=True)]
    torch.testing.assert_close(scores, gradients, rtol=1e-4, atol=1e-4)
    expected = torch.where(hidden, likelihood.fisher(at[1]), likelihood.fisher(at[0]))
    torch.testing.assert_close(total(information), expected)
    assert not scores[0][hidden].any(), "the score is not 0 in the features of missing values"
    assert not information[0][hidden].any(), "the information is not 0 in the features of missing values"


def has_fisher(likelihood: Likelihood) -> bool:
    """Whether a likelihood implements ``fisher``."""
    return type(likelihood).fisher is not Likelihood.fisher


def _case(make: MakePair) -> tuple[Likelihood, Tensor]:
    model = make().model
    torch.manual_seed(0)
    return model.likelihood, torch.randn(2, *model.features_shape)


#: The checks of ``check_likelihood``, besides those of a pair.
LIKELIHOOD_CHECKS: tuple[Check, ...] = (
    likelihood_shapes,
    likelihood_draws_have_its_density,
    likelihood_mean_is_that_of_draws,
    likelihood_score_is_the_gradient,
    likelihood_fisher_is_the_expected_curvature,
    likelihood_leaves_out_missing_values,
)


def check_likelihood(likelihood: MakeLikelihood) -> None:
    """Check a likelihood by itself and with the guides ``MeanField`` and, if it implements ``fisher``, ``Laplace``.

    Its pixels must be independent given the features. Of a likelihood whose features have another shape than a datum,
    such as two maps per pixel, give the class: its ``build(event_shape)`` says which.

    Args:
        likelihood: the likelihood's class, or a function without arguments that returns a likelihood for vectors as
            well as images.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes.likelihoods import Poisson
        >>> check_likelihood(Poisson)
    """
    name = getattr(likelihood, "__name__", repr(likelihood))
    guides = (MeanField, Laplace) if has_fisher(built(lambda: of_shape(likelihood, (5,)))) else (MeanField,)
    makes = [
        lambda guide=guide, shape=shape: pair(guide, likelihood, shape=shape)
        for guide in guides
        for shape in ((5,), (1, 2, 3))
    ]
    run_checks(name, (*LIKELIHOOD_CHECKS, *PAIR_CHECKS), makes)
