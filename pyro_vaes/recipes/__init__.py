"""Each published system as a short function that builds it: ``model, guide, loss = laplace(event_shape)``.

The command line knows them by the names in ``RECIPES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro_vaes.recipes.build import build_guide, build_seeded, build_vae
from pyro_vaes.recipes.hierarchies import hierarchical, ladder, ladder_mixture, mixture
from pyro_vaes.recipes.published import PUBLISHED, SMALL
from pyro_vaes.recipes.recipe import System
from pyro_vaes.recipes.settings import Settings
from pyro_vaes.recipes.single_latent import af_prior, full_covariance, laplace, lossy, mae, pixelcnn, vae
from pyro_vaes.recipes.spec import kebab

__all__ = [
    "PUBLISHED",
    "RECIPES",
    "SMALL",
    "Settings",
    "System",
    "af_prior",
    "build_guide",
    "build_seeded",
    "build_vae",
    "full_covariance",
    "hierarchical",
    "ladder",
    "ladder_mixture",
    "laplace",
    "lossy",
    "mae",
    "mixture",
    "pixelcnn",
    "vae",
]

#: The recipes by their names on the command line.
RECIPES: dict[str, Callable[..., System[Any, Any]]] = {
    kebab(recipe.__name__): recipe
    for recipe in (
        vae,
        full_covariance,
        laplace,
        lossy,
        af_prior,
        mae,
        pixelcnn,
        ladder,
        hierarchical,
        mixture,
        ladder_mixture,
    )
}
