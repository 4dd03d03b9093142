"""Systems of the plain VAE: one latent, and a guide, prior, likelihood and loss to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyro_vaes.networks import ConstantDecoder
from pyro_vaes.recipes.build import build_guide, build_likelihood, build_loss, build_prior, build_vae, features_shape
from pyro_vaes.recipes.published import SMALL
from pyro_vaes.recipes.recipe import System, records_origin
from pyro_vaes.recipes.settings import Settings
from pyro_vaes.vae import VAE, Guide


@records_origin
def vae(event_shape: Sequence[int], settings: Settings = SMALL["vae"]) -> System[VAE, Guide]:
    """VAE: mean-field posterior. Auto-Encoding Variational Bayes (Kingma, Welling, 2014)."""
    return _with_guide("mean-field", build_vae(event_shape, settings), event_shape, settings)


@records_origin
def full_covariance(event_shape: Sequence[int], settings: Settings = SMALL["full-covariance"]) -> System[VAE, Guide]:
    """VAE, full-covariance posterior. An Introduction to Variational Autoencoders (Kingma, Welling, 2019)."""
    return _with_guide("full-covariance", build_vae(event_shape, settings), event_shape, settings)


@records_origin
def laplace(event_shape: Sequence[int], settings: Settings = SMALL["laplace"]) -> System[VAE, Guide]:
    """VLAE: Laplace posterior. Variational Laplace Autoencoders (Park, Kim, Kim, 2019)."""
    return _with_guide("laplace", build_vae(event_shape, settings), event_shape, settings)


@records_origin
def lossy(event_shape: Sequence[int], settings: Settings = SMALL["lossy"]) -> System[VAE, Guide]:
    """VLAE: windowed PixelCNN, flow prior. Variational Lossy Autoencoder (Chen et al., 2017)."""
    return vae(event_shape, settings)


@records_origin
def af_prior(event_shape: Sequence[int], settings: Settings = SMALL["af-prior"]) -> System[VAE, Guide]:
    """VAE with an autoregressive flow prior. Variational Lossy Autoencoder (Chen et al., 2017)."""
    return vae(event_shape, settings)


@records_origin
def mae(event_shape: Sequence[int], settings: Settings = SMALL["mae"]) -> System[VAE, Guide]:
    """MAE: PixelCNN, mutual posterior divergence. MAE (Ma, Zhou, Hovy, 2019)."""
    return vae(event_shape, settings)


@records_origin
def pixelcnn(event_shape: Sequence[int], settings: Settings = SMALL["pixelcnn"]) -> System[VAE, Guide]:
    """PixelCNN without a code. Pixel Recurrent Neural Networks (van den Oord et al., 2016)."""
    likelihood = build_likelihood(event_shape, settings)
    decoder = ConstantDecoder(settings.size, features_shape(likelihood, event_shape))
    model = VAE(decoder, build_prior(settings.prior, settings.size), likelihood)
    return _with_guide("mean-field", model, event_shape, replace(settings, network="mlp", hidden=(1,)))


def _with_guide(guide: str, model: VAE, event_shape: Sequence[int], settings: Settings) -> System[VAE, Guide]:
    chosen = build_guide(settings.guide or guide, model, event_shape, settings)
    return System(model, chosen, build_loss(chosen, settings))
