"""Settings that vary in a comparison: every guide is trained with each combination of their values."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from pyro_vaes.errors import InputError, shown
from pyro_vaes.recipes.build import data_requirements
from pyro_vaes.recipes.spec import split
from pyro_vaes.settings import LISTS, Settings, check_names, integers

Varied = Mapping[str, Sequence[Any]]

#: Settings that are the same in all trainings of a comparison: those of the data, and what has an argument of its own.
HELD = {
    **dict.fromkeys(("data", "data_root", "kind", "num_bins", "binarize", "center", "logit", "channels"), "data"),
    **dict.fromkeys(("train_size", "labels", "condition_dim"), "data"),
    **{"guide": "give guides", "seed": "give seeds", "start_epochs": "give start", "device": "all run on one"},
}
SWITCHES = {"true": True, "false": False}


def parse_varied(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Settings and their values from texts such as ``prior=standard-normal,vamp-prior(components=20)``.

    Raises:
        InputError: If a setting does not exist or repeats, or a value is not of its type.

    Example:
        >>> parse_varied(["prior=standard-normal, vamp-prior(components=20)", "lr=1e-3,1e-2", "hidden=64-64,128"])
        {'prior': ['standard-normal', 'vamp-prior(components=20)'], 'lr': [0.001, 0.01], 'hidden': [(64, 64), (128,)]}
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        check_names([name])
        if name in found or not split(values):
            raise InputError(f"vary is {shown(text)}: give each setting once, with values, such as lr=1e-3,1e-2")
        found[name] = [_value(name, value) for value in split(values)]
    return found


def _value(name: str, text: str) -> Any:
    """A value of a setting's type; ``none`` where a setting may have none."""
    hint = typing.get_type_hints(Settings)[name]
    kinds = typing.get_args(hint) or (hint,)
    if text == "none" and NoneType in kinds:
        return None
    if name in LISTS:
        sizes = integers(name, text)
        return sizes[0] if name == "latent_dim" and len(sizes) == 1 else sizes
    kind = next(each for each in kinds if each is not NoneType)
    try:
        return SWITCHES[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else kind.__name__
        raise InputError(f"vary: {name} is {shown(text)}: expected {expected}") from None


def written(name: str, values: Sequence[Any]) -> str:
    """A setting and its values, as :func:`parse_varied` reads them.

    Example:
        >>> written("hidden", [(64, 64), (128,)]), written("ema", [None, 0.999])
        ('hidden=64-64,128', 'ema=none,0.999')
    """
    return f"{name}={','.join(map(_text, values))}"


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "-".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def variants(settings: Settings, varied: Varied) -> dict[str, Settings]:
    """The settings of every combination, by what varies in them; of none, the settings under the name ``""``.

    Raises:
        InputError: If a setting does not exist, is held, or has values that repeat, or likelihoods are for data that
            are preprocessed differently, so that their densities cannot be compared.

    Example:
        >>> found = variants(Settings(), {"prior": ["standard-normal", "vamp-prior"], "lr": [0.1]})
        >>> list(found), found["prior=vamp-prior lr=0.1"].prior
        (['prior=standard-normal lr=0.1', 'prior=vamp-prior lr=0.1'], 'vamp-prior')
    """
    check_names(varied)
    for name, values in varied.items():
        if name in HELD:
            reason = "all trainings of a comparison have the same data" if HELD[name] == "data" else HELD[name]
            raise InputError(f"{name} cannot vary: {reason}")
        if not values or len(set(map(_text, values))) < len(values):
            raise InputError(f"vary is {written(name, values)}: give values, of which none may repeat")
    found = {
        " ".join(written(name, [value]) for name, value in zip(varied, values, strict=True)): dataclasses.replace(
            settings, **dict(zip(varied, values, strict=True))
        )
        for values in itertools.product(*varied.values())
    }
    if "likelihood" in varied:
        _check_same_data(found)
    return found


def _check_same_data(found: Mapping[str, Settings]) -> None:
    """Refuse likelihoods of data that are preprocessed differently."""
    needed = {name: data_requirements(settings) for name, settings in found.items()}
    (first, expected), *others = needed.items()
    for name, each in others:
        if each != expected:
            raise InputError(
                f"{first} is for data with {_listed(expected)}, {name} for data with {_listed(each)}: their log p(x) "
                "cannot be compared; vary likelihoods for the same data, or name the preprocessing (--binarize, --kind)"
            )


def _listed(requirements: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in requirements.items())
