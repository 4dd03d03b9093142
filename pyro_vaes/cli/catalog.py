"""The lists of ``pyro-vaes list``: parts with their options and defaults, recipes with their settings, data sets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from docstring_parser import parse

from pyro_vaes import guides, likelihoods, losses, priors
from pyro_vaes.data import datasets
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.losses import Loss
from pyro_vaes.priors import Prior
from pyro_vaes.recipes import RECIPES, Recipe, Settings
from pyro_vaes.recipes.options import named_options, written
from pyro_vaes.recipes.spec import registry
from pyro_vaes.vae import Guide

#: Parts by the name of their list: package, base class, and how many arguments are given to each in any case.
PARTS: dict[str, tuple[ModuleType, type, int]] = {
    "guides": (guides, Guide, 2),
    "priors": (priors, Prior, 1),
    "likelihoods": (likelihoods, Likelihood, 1),
    "losses": (losses, Loss, 0),
}
FILES = {
    "FILE.npz": "x_train[, y_train], x_valid, x_test ...: images or vectors of any --kind",
    "FILE.npy": "or .csv, .parquet, .h5ad: one array or table, of which the splits are drawn",
}


def catalog(kind: str) -> list[dict[str, Any]]:
    """The entries of a list: ``name``, ``summary``, and ``options``, each as it is written, with its description.

    Args:
        kind: guides, priors, likelihoods, losses, recipes or datasets.

    Example:
        >>> next(entry["options"] for entry in catalog("guides") if entry["name"] == "low-rank")
        {'rank=2': 'number of columns of F, each a direction of correlated variation of the latents.'}
    """
    if kind == "recipes":
        return [_of_recipe(recipe) for recipe in RECIPES.values()]
    if kind == "datasets":
        return [{"name": name, "summary": line, "options": {}} for name, line in {**datasets, **FILES}.items()]
    package, base, given = PARTS[kind]
    parts: dict[str, type] = registry(package, base)
    return [_of_part(name, part, given) for name, part in parts.items()]


def _of_part(name: str, part: type, given: int) -> dict[str, Any]:
    make: Callable[..., Any] = getattr(part, "build", part)
    helps = _helps(part)
    options = {
        written(option) if option.default is not option.empty else f"{key} (required)": helps.get(key, "")
        for key, option in named_options(make, given).items()
    }
    return {"name": name, "summary": _summary(part), "options": options}


def _summary(part: type) -> str:
    return _plain(parse(inspect.getdoc(part) or "").short_description)


def _helps(part: type) -> dict[str, str]:
    """Descriptions of the arguments of a class, in a line each; its own precede those of its bases."""
    documented = [parse(vars(each).get("__doc__") or "") for each in reversed(inspect.getmro(part))]
    return {
        each.arg_name: _plain(each.description)
        for docstring in documented
        for each in docstring.params
        if each.args[0] == "param"
    }


def _plain(text: str | None) -> str:
    """A text of a docstring in one line, without its markup."""
    return re.sub(r"(:\w+:)?`+~?([^`]*)`+", r"\2", " ".join((text or "").split()))


def _of_recipe(recipe: Recipe[Any, Any]) -> dict[str, Any]:
    """A recipe with those of its settings that are not the defaults, as flags."""
    default, small = Settings().config(), recipe.small.config()
    options = {f"--{name.replace('_', '-')} {value}": "" for name, value in small.items() if value != default.get(name)}
    if recipe.published:
        options["--published"] = f"the settings of its paper, for {', '.join(recipe.published)}"
    return {"name": recipe.name, "summary": recipe.paper, "options": options}
