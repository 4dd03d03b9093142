"""Each published system as a short function that builds it: ``model, guide, loss = laplace(event_shape)``.

The command line knows each function that is exported here by its name in kebab case.
"""

from pyro_vaes.recipes.single_latent import full_covariance, laplace, vae
from pyro_vaes.recipes.system import Settings, System, build_guide, build_seeded, build_vae

__all__ = [
    "PUBLISHED",
    "SYSTEMS",
    "Settings",
    "System",
    "build_guide",
    "build_seeded",
    "build_vae",
    "full_covariance",
    "laplace",
    "vae",
]

SYSTEMS = ("full_covariance", "laplace", "vae")

# Networks and optimiser of Variational Laplace Autoencoders (Park, Kim, Kim, 2019); its initial weights and its
# centring of the pixels are not part of these settings.
_PARK = Settings(likelihood="gaussian", latent_dim=50, hidden=(500, 500), epochs=2000, batch_size=128, lr=5e-4)

PUBLISHED: dict[str, Settings] = {"vae": _PARK, "laplace": _PARK}
