"""Validation of data, the mode of modules, and seeding of draws, common to all estimates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vaes.data.conversion import as_dense
from pyro_vaes.data.missing import take_mask
from pyro_vaes.data.split import Split
from pyro_vaes.errors import InputError
from pyro_vaes.given import Given, Rows, accepted, bind, given_of
from pyro_vaes.missing import check_hidden, check_mask, hide, missing_values, nan_is_missing
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.param_store import adopt_loaded, isolated
from pyro_vaes.vae import Guide, LatentVariableModel


def as_input(model: Callable[..., Any], x: object, mask: Tensor | np.ndarray | None = None) -> Tensor:
    """The data as a tensor of the model's dtype, on its device, checked to be data of the model.

    Args:
        model: a model, whose likelihood checks the values too, or a guide; of other callables only ``x`` is checked.
        x: tensor or NumPy array, ``(N, *event_shape)``; values that a NumPy array masks are missing.
        mask: True where x was seen, of its shape; None where nothing is missing, or NaN marks what is, see
            :func:`~pyro_vaes.missing_values`.

    Returns:
        The data, with NaN for missing values.

    Raises:
        InputError: If x is no tensor or array, is empty, holds values that are not finite, or has another shape than
            the model's data, the model's likelihood refuses it, or the mask does not fit it or hides all of a datum.

    Example:
        >>> as_input(vae, x.double().numpy()).dtype
        torch.float32
    """
    x, mask = take_mask(x, mask, "x")
    values, known = _converted(x, "x"), model.vae if isinstance(model, Guide) else model
    if mask is None and nan_is_missing():
        mask = ~values.isnan()
    _check_finite(values, "x", mask)
    if isinstance(known, LatentVariableModel):
        if values.dtype == torch.uint8:
            raise InputError("x is uint8: give preprocessed pixels, such as data.test.x")
        known.check_event_shape(values.shape[1:])
        values = values.to(reference_weight(cast(nn.Module, model)))
    elif isinstance(model, nn.Module):
        like = reference_weight(model)
        values = values.to(like if values.is_floating_point() and like.numel() else like.device)
    if mask is not None:
        values = hide(values if values.is_floating_point() else values.float(), torch.as_tensor(mask))
    missing = values.isnan()
    if missing.any():
        check_hidden(~missing)
    if isinstance(model, LatentVariableModel):
        model.likelihood.check(model.likelihood.filled(values))
    return values


def as_inputs(
    x: object, y: object, model: Any, *guides: Any, mask: Tensor | np.ndarray | None = None
) -> tuple[Any, ...]:
    """The data as a tensor, and model and guides bound to their labels or conditions y.

    Args:
        x: tensor or NumPy array, ``(N, *event_shape)``.
        y: tensor or NumPy array, ``(N, ...)``, or None, which leaves bound ones bound.
        model: a model, or a guide alone; it checks x, see :func:`as_input`, and y.
        guides: its guides; None for none.
        mask: True where x was seen, see :func:`as_input`.

    Raises:
        InputError: If :func:`as_input` refuses x, a model or guide takes no y but is given one, or requires one and
            is given none, or y has another number of rows than x or values that the model refuses.

    Example:
        >>> data, model, guide = as_inputs(x, None, vae, None)
        >>> data is x, model is vae, guide
        (True, True, None)
    """
    x = as_input(model, x, mask)
    for name, value in given_of(model).items():
        if y is None and len(value) != len(x):
            raise InputError(f"{type(model).__name__} is bound to {len(value)} rows of {name}, but x has {len(x)}")
    return x, *bound(x, y, model, *guides)


def bound(x: Tensor, y: object, model: Any, *guides: Any) -> tuple[Any, ...]:
    """Model and guides bound to the labels or conditions y of checked data, see :func:`as_inputs`."""
    owners = [owner for owner in (model, *guides) if owner is not None]
    if y is None:
        missing = [name for name in accepted(*owners, optional=False) if name not in given_of(model)]
        if missing:
            raise InputError(
                f"{type(model).__name__} requires {missing[0]}, the labels or conditions of x: give {missing[0]}, one "
                f"for each observation, such as {missing[0]}=data.test.{missing[0]}"
            )
        return model, *guides
    if not accepted(*owners):
        names = " and ".join(type(owner).__name__ for owner in owners)
        raise InputError(f"y was given, but {names} take none: leave it out, or name y in the forward of both")
    values = as_tensor(y, "y")
    if len(values) != len(x):
        raise InputError(f"y has {len(values)} rows for the {len(x)} observations of x: give one each")
    given = Given(y=values).to(x if x.is_floating_point() else x.float())
    known = model.vae if isinstance(model, Guide) else model
    if isinstance(known, LatentVariableModel):
        known.check_given(given)
    return tuple(bind(owner, given) for owner in (model, *guides))


def of_split(split: Split, rows: Rows, model: Any, *guides: Any) -> tuple[Any, ...]:
    """Model and guides bound to the inputs beside x, of some data of a split, that the model requires.

    Args:
        split: the data.
        rows: which data.
        model: a model, or a guide alone.
        guides: its guides.

    Raises:
        InputError: If the split lacks such an input.

    Example:
        >>> import pyro_vaes as pv
        >>> of_split(pv.data.load("digits").test, slice(10), vae)[0] is vae
        True
    """
    owners = (model, *guides)
    given = split.given(accepted(*owners, optional=False)).take(rows)
    like = reference_weight(model) if isinstance(model, nn.Module) else torch.empty(0)
    return tuple(bind(owner, given.to(like)) for owner in owners)


def as_tensor(x: object, name: str = "x") -> Tensor:
    """A tensor or NumPy array of at least one observation as a tensor, checked to be finite.

    Raises:
        InputError: If it is something else, is masked or sparse, or a value is not finite; names the first such value.

    Example:
        >>> as_tensor(np.ones((2, 3), dtype=">f4")).dtype
        torch.float32
    """
    values = _converted(x, name)
    _check_finite(values, name, None)
    return values


def _converted(x: object, name: str) -> Tensor:
    x = as_dense(x, name)
    if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        x = torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="), order="C"))
    if not isinstance(x, Tensor) or x.is_complex():
        raise InputError(
            f"{name} is a {type(x).__name__}: expected a dense tensor or NumPy array of numbers, such as data.test.x"
        )
    if not x.dim() or not len(x):
        raise InputError(f"{name} holds no data: give at least one observation")
    return x


def _check_finite(x: Tensor, name: str, mask: Tensor | np.ndarray | None) -> None:
    """Check that all values are finite, or all that a mask says were seen."""
    finite = x.isfinite()
    if mask is not None:
        check_mask(mask, tuple(x.shape), name)
        finite = finite | ~torch.as_tensor(mask).to(x.device)
    if not finite.all():
        index = tuple((~finite).nonzero()[0].tolist())
        advice = "; if NaN marks missing values, give mask=~x.isnan()" if x[index].isnan() and mask is None else ""
        raise InputError(
            f"{name}[{', '.join(map(str, index))}] is {x[index].item()}: every value must be finite{advice}"
        )


def check_simulated(model: Any) -> None:
    """Check that what is drawn from a model has the density of the model.

    Raises:
        InputError: If its likelihood has size factors, which are those of the observations.

    Example:
        >>> check_simulated(vae)
    """
    if isinstance(model, LatentVariableModel) and model.likelihood.size_factors:
        raise InputError(
            f"{type(model.likelihood).__name__} has size factors, so that its density is one given the size of x, but "
            "simulated data have another size than the one they were drawn with: take a model without size factors"
        )


@contextlib.contextmanager
def evaluating(*owners: Any, x: Tensor | None = None) -> Iterator[None]:
    """Context manager for an evaluation of models and guides, which it leaves as they were.

    They are in evaluation mode, Pyro's parameter store is restored on exit, and Pyro's validation is off.

    Args:
        owners: models and guides; the mode of callables that are no modules is their own.
        x: the data from :func:`as_input`, whose NaN are missing values; None where these are declared otherwise.
    """
    adopt_loaded(*owners)
    missing = nan_is_missing() if x is None else bool(x.isnan().any())
    with isolated(), evaluation_mode(*owners), missing_values(missing):
        yield


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager that seeds torch's generators, and restores their state on exit."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
