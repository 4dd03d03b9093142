"""Each published system as a short function that builds it: ``model, guide, loss = laplace(event_shape)``.

The command line knows each function of ``SYSTEMS`` by its name in kebab case.
"""

from pyro_vaes.recipes.levels import hierarchical, ladder, ladder_mixture, mixture
from pyro_vaes.recipes.published import PUBLISHED, SMALL
from pyro_vaes.recipes.settings import Settings
from pyro_vaes.recipes.single_latent import af_prior, full_covariance, laplace, lossy, mae, pixelcnn, vae
from pyro_vaes.recipes.system import System, build_guide, build_seeded, build_vae

__all__ = [
    "PUBLISHED",
    "SMALL",
    "SYSTEMS",
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

SYSTEMS = (
    "vae",
    "full_covariance",
    "laplace",
    "lossy",
    "af_prior",
    "mae",
    "pixelcnn",
    "ladder",
    "hierarchical",
    "mixture",
    "ladder_mixture",
)
