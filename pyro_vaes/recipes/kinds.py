"""The kinds of data that likelihoods are for."""

from __future__ import annotations

from pyro_vaes import likelihoods
from pyro_vaes.data.kinds import find_kind
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.recipes.spec import registry


def needed_kind(likelihood: Likelihood | type[Likelihood]) -> str:
    """The kind of data that a likelihood is given unless another is named: pixels if it takes them.

    Example:
        >>> needed_kind(likelihoods.Bernoulli), needed_kind(likelihoods.Poisson)
        ('pixels', 'counts')
    """
    return "pixels" if "pixels" in (likelihood.kinds or ("pixels",)) else likelihood.kinds[0]


def check_kind(likelihood: Likelihood | type[Likelihood], kind: str) -> None:
    """Check that a likelihood is one for a kind of data.

    Args:
        likelihood: the likelihood, or its class.
        kind: name of the kind.

    Raises:
        InputError: If the kind is unknown, or the likelihood is for others; names the likelihoods that are for it.

    Example:
        >>> check_kind(likelihoods.Gaussian, "counts")
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: Gaussian is for data of kind pixels or values, but these are counts: take
        NegativeBinomial, Poisson or ZeroInflated (--likelihood negative-binomial), or load them as kind="pixels" or
        kind="values" (--kind pixels) if that is what they are
    """
    find_kind(kind)
    if not likelihood.kinds or kind in likelihood.kinds:
        return
    known = registry(likelihoods, Likelihood)
    suited = {name: each.__name__ for name, each in known.items() if kind in each.kinds}
    name = (likelihood if isinstance(likelihood, type) else type(likelihood)).__name__
    others = " or ".join(f'kind="{each}"' for each in likelihood.kinds)
    raise InputError(
        f"{name} is for data of kind {' or '.join(likelihood.kinds)}, but these are {kind}: take "
        f"{_listed(list(suited.values()))} (--likelihood {min(suited)}), or load them as {others} "
        f"(--kind {likelihood.kinds[0]}) if that is what they are"
    )


def _listed(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
