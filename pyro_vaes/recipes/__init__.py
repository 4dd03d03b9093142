"""Each published system as a recipe that builds it: ``model, guide, loss = laplace(event_shape)``.

A recipe is one row of name, paper and settings; the command line knows them by the names in ``RECIPES``.
"""

from __future__ import annotations

from typing import Any

from pyro_vaes.recipes.build import build_guide, build_seeded, build_vae, load_data
from pyro_vaes.recipes.hierarchies import hierarchical, ladder, ladder_mixture, mixture
from pyro_vaes.recipes.recipe import Recipe, System
from pyro_vaes.recipes.single_latent import (
    af_prior,
    conditional,
    full_covariance,
    iaf,
    laplace,
    lossy,
    mae,
    pixelcnn,
    recursive_mixture,
    vae,
)
from pyro_vaes.settings import Settings

__all__ = [
    "RECIPES",
    "Recipe",
    "Settings",
    "System",
    "af_prior",
    "build_guide",
    "build_seeded",
    "build_vae",
    "conditional",
    "full_covariance",
    "hierarchical",
    "iaf",
    "ladder",
    "ladder_mixture",
    "laplace",
    "load_data",
    "lossy",
    "mae",
    "mixture",
    "pixelcnn",
    "recursive_mixture",
    "vae",
]

_ROWS: tuple[Recipe[Any, Any], ...] = (
    vae,
    conditional,
    full_covariance,
    laplace,
    recursive_mixture,
    lossy,
    af_prior,
    iaf,
    mae,
    pixelcnn,
    ladder,
    hierarchical,
    mixture,
    ladder_mixture,
)
#: The recipes by their names on the command line.
RECIPES: dict[str, Recipe[Any, Any]] = {recipe.name: recipe for recipe in _ROWS}
