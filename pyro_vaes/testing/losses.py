"""Checks of losses."""

from __future__ import annotations

import torch

from pyro_vaes.guides import MeanField
from pyro_vaes.testing.pairs import BATCH, Check, MakeGuide, MakeLoss, MakePair, pair, run_checks
from pyro_vaes.testing.training import gradients_are_finite, trains_in_stock_svi


def objective_and_terms_are_per_datum(make: MakePair) -> None:
    """The objective and its terms have shape (B,); ``reconstruction`` and ``kl`` are among the terms."""
    vae, guide, x, loss = make()
    objective, terms = loss.objective(vae, guide, x)
    for name, value in {"objective": objective, **terms}.items():
        assert value.shape == (BATCH,), (
            f"{name} has shape {tuple(value.shape)}, expected one value per datum, ({BATCH},)"
        )
        assert value.isfinite().all(), f"{name} is not finite"
    missing = {"reconstruction", "kl"} - terms.keys()
    assert not missing, f"the terms lack {', '.join(sorted(missing))}, from which fit and evaluate take the ELBO"


def loss_is_minus_the_summed_objective(make: MakePair) -> None:
    """``loss`` and ``differentiable_loss`` are the negative objective, summed over the batch."""
    vae, guide, x, loss = make()
    values = []
    for compute in (lambda: -loss.objective(vae, guide, x)[0].sum(), lambda: loss.differentiable_loss(vae, guide, x)):
        torch.manual_seed(0)
        values.append(compute().detach())
    torch.testing.assert_close(*values)


#: The checks of ``check_loss``.
LOSS_CHECKS: tuple[Check, ...] = (
    objective_and_terms_are_per_datum,
    loss_is_minus_the_summed_objective,
    gradients_are_finite,
    trains_in_stock_svi,
)


def check_loss(loss: MakeLoss, guide: MakeGuide = MeanField) -> None:
    """Check a loss.

    Args:
        loss: the loss's class, or a function without arguments that returns a loss.
        guide: class of a guide that the loss supports.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes.losses import IWAE
        >>> check_loss(IWAE)
    """
    name = getattr(loss, "__name__", repr(loss))
    run_checks(name, LOSS_CHECKS, [lambda: pair(guide, loss=loss), lambda: pair(guide, loss=loss, shape=(5,))])
