"""Systems of the plain VAE: one latent, and a guide, prior, likelihood and loss to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pyro_vaes.errors import InputError
from pyro_vaes.models import ConditionalVAE
from pyro_vaes.networks import ConstantDecoder
from pyro_vaes.recipes.build import (
    build_decoder,
    build_guide,
    build_likelihood,
    build_loss,
    build_prior,
    build_vae,
    features_shape,
)
from pyro_vaes.recipes.published import BINARY, LOSSY, LOSSY_COLOR, MAE, MAE_COLOR, PARK, PARK_BINARY, PIXELCNN
from pyro_vaes.recipes.recipe import Recipe, System
from pyro_vaes.recipes.spec import split
from pyro_vaes.settings import Settings
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import checked_sizes


def single_latent(event_shape: Sequence[int], settings: Settings, guide: str = "mean-field") -> System[VAE, Guide]:
    """The plain VAE with the guide of the settings, the first if there are several, or else the given one."""
    return _with_guide(build_vae(event_shape, settings), event_shape, replace(settings, guide=settings.guide or guide))


def no_code(event_shape: Sequence[int], settings: Settings) -> System[VAE, Guide]:
    """A VAE whose decoder ignores the code, so that the likelihood stands alone."""
    likelihood = build_likelihood(event_shape, settings)
    decoder = ConstantDecoder(settings.size, features_shape(likelihood, event_shape))
    model = VAE(decoder, build_prior(settings.prior, settings.size), likelihood)
    return _with_guide(model, event_shape, replace(settings, network="mlp", hidden=(1,)))


def conditional_vae(event_shape: Sequence[int], settings: Settings) -> System[VAE, Guide]:
    """The VAE given a label or vector, whose decoder takes it beside the latent."""
    if settings.condition_dim is None:
        raise InputError("condition_dim is missing: give the number of classes of y, or the size of its vectors")
    checked_sizes(condition_dim=(settings.condition_dim,))
    likelihood = build_likelihood(event_shape, settings)
    joined = replace(settings, latent_dim=settings.size + settings.condition_dim)
    decoder = build_decoder(features_shape(likelihood, event_shape), joined)
    prior = build_prior(settings.prior, settings.size)
    return _with_guide(ConditionalVAE(decoder, prior, likelihood, settings.condition_dim), event_shape, settings)


def _with_guide(model: VAE, event_shape: Sequence[int], settings: Settings) -> System[VAE, Guide]:
    text = settings.guide or "mean-field"
    guide = build_guide(next(iter(split(text)), text), model, event_shape, settings)
    return System(model, guide, build_loss(guide, settings))


#: The recipe ``vae``; its attribute ``paper`` says what it is.
vae = Recipe(
    "vae",
    single_latent,
    "VAE: mean-field posterior. Auto-Encoding Variational Bayes (Kingma, Welling, 2014).",
    published={"mnist": PARK, "mnist bernoulli": PARK_BINARY},
)
#: The recipe ``conditional``; its attribute ``paper`` says what it is.
conditional = Recipe(
    "conditional",
    conditional_vae,
    "Conditional VAE of x given its label. Learning Structured Output Representation (Sohn, Lee, Yan, 2015).",
    small=Settings(condition_dim=10),
)
#: The recipe ``full-covariance``; its attribute ``paper`` says what it is.
full_covariance = Recipe(
    "full-covariance",
    partial(single_latent, guide="full-covariance"),
    "VAE, full-covariance posterior. An Introduction to Variational Autoencoders (Kingma, Welling, 2019).",
)
#: The recipe ``laplace``; its attribute ``paper`` says what it is.
laplace = Recipe(
    "laplace",
    partial(single_latent, guide="laplace"),
    "VLAE: Laplace posterior. Variational Laplace Autoencoders (Park, Kim, Kim, 2019).",
    published={
        "mnist": replace(PARK, guide="laplace(updates=4, step_size=0.5, warmup=0)"),
        "mnist bernoulli": replace(PARK_BINARY, guide="laplace(updates=4, step_size=0.5, warmup=0)"),
    },
)
#: The recipe ``recursive-mixture``; its attribute ``paper`` says what it is.
recursive_mixture = Recipe(
    "recursive-mixture",
    single_latent,
    "RME: mixture of amortized posteriors. Recursive Inference for Variational Autoencoders (Kim, Pavlovic, 2020).",
    small=Settings(
        guide="recursive-mixture(components=2), recursive-mixture(components=4)", start_epochs=20, epochs=10
    ),
)
#: The recipe ``lossy``; its attribute ``paper`` says what it is.
lossy = Recipe(
    "lossy",
    single_latent,
    "VLAE: windowed PixelCNN, flow prior. Variational Lossy Autoencoder (Chen et al., 2017).",
    small=replace(
        PIXELCNN,
        likelihood="pixelcnn(window=(5, 3), layers=4, channels=8)",
        prior="autoregressive-flow(flows=2)",
        loss="free-bits(total=4)",
        epochs=8,
    ),
    published={**dict.fromkeys(BINARY, LOSSY), "cifar10": LOSSY_COLOR},
)
#: The recipe ``af-prior``; its attribute ``paper`` says what it is.
af_prior = Recipe(
    "af-prior",
    single_latent,
    "VAE with an autoregressive flow prior. Variational Lossy Autoencoder (Chen et al., 2017).",
    small=Settings(likelihood="bernoulli", prior="autoregressive-flow(flows=2)"),
    published={
        **dict.fromkeys(BINARY, replace(LOSSY, likelihood="bernoulli")),
        "cifar10": replace(LOSSY_COLOR, likelihood="discretized-logistic"),
    },
)
#: The recipe ``iaf``; its attribute ``paper`` says what it is.
iaf = Recipe(
    "iaf",
    partial(single_latent, guide="inverse-autoregressive-flow"),
    "VAE, flow posterior: the baseline of VLAE. Improved Variational Inference with IAF (Kingma et al., 2016).",
    small=Settings(likelihood="bernoulli"),
    published=dict.fromkeys(
        BINARY,
        replace(
            LOSSY,
            guide="inverse-autoregressive-flow(flows=4, hidden=(640, 640))",
            likelihood="bernoulli",
            prior="standard-normal",
        ),
    ),
)
#: The recipe ``mae``; its attribute ``paper`` says what it is.
mae = Recipe(
    "mae",
    single_latent,
    "MAE: PixelCNN, mutual posterior divergence. MAE (Ma, Zhou, Hovy, 2019).",
    small=replace(PIXELCNN, loss="mutual-posterior-divergence(eta=2, gamma=0.5)"),
    published={**dict.fromkeys(BINARY, MAE), "cifar10": MAE_COLOR},
)
#: The recipe ``pixelcnn``; its attribute ``paper`` says what it is.
pixelcnn = Recipe(
    "pixelcnn",
    no_code,
    "PixelCNN without a code. Pixel Recurrent Neural Networks (van den Oord et al., 2016).",
    small=replace(PIXELCNN, latent_dim=1),
    published={
        **dict.fromkeys(BINARY, replace(LOSSY, prior="standard-normal", loss=None, network="mlp", latent_dim=1)),
        "cifar10": replace(LOSSY_COLOR, prior="standard-normal", loss=None, network="mlp", latent_dim=1),
    },
)
