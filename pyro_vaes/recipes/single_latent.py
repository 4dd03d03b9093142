"""Systems of the plain VAE: one latent, a guide to choose."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_vaes.losses import default_loss
from pyro_vaes.recipes.system import Settings, System, build_guide, build_vae


def vae(event_shape: Sequence[int], settings: Settings | None = None) -> System:
    """VAE: mean-field posterior. Auto-Encoding Variational Bayes (Kingma, Welling, 2014)."""
    return _with_guide("mean-field", event_shape, settings)


def full_covariance(event_shape: Sequence[int], settings: Settings | None = None) -> System:
    """VAE, full-covariance posterior. An Introduction to Variational Autoencoders (Kingma, Welling, 2019)."""
    return _with_guide("full-covariance", event_shape, settings)


def laplace(event_shape: Sequence[int], settings: Settings | None = None) -> System:
    """VLAE: Laplace posterior. Variational Laplace Autoencoders (Park, Kim, Kim, 2019)."""
    return _with_guide("laplace", event_shape, settings)


def _with_guide(guide: str, event_shape: Sequence[int], settings: Settings | None) -> System:
    settings = settings or Settings()
    model = build_vae(event_shape, settings)
    chosen = build_guide(settings.guide or guide, model, event_shape, settings)
    return System(model, chosen, default_loss(chosen))
