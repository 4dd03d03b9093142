"""The settings of each recipe: small ones, for 2 cores, and the published ones by data set."""

from __future__ import annotations

from dataclasses import replace

from pyro_vaes.recipes.settings import Settings

_PIXELCNN = Settings(
    likelihood="pixelcnn(layers=6, channels=12)", latent_dim=20, epochs=3, batch_size=32, lr=2e-3, ema=0.99
)
_LEVELS = Settings(
    likelihood="gaussian(scale=0.177, learn=False)", latent_dim=(4, 12), hidden=(384, 256), batch_size=100
)

#: For 2 cores, by recipe.
SMALL: dict[str, Settings] = {
    "vae": Settings(),
    "full-covariance": Settings(),
    "laplace": Settings(),
    "lossy": replace(
        _PIXELCNN,
        likelihood="pixelcnn(window=(5, 3), layers=4, channels=8)",
        prior="autoregressive-flow(flows=2)",
        loss="free-bits(total=4)",
        epochs=8,
    ),
    "af-prior": Settings(likelihood="bernoulli", prior="autoregressive-flow(flows=2)"),
    "mae": replace(_PIXELCNN, loss="mutual-posterior-divergence(eta=2, gamma=0.5)"),
    "pixelcnn": replace(_PIXELCNN, latent_dim=1),
    "ladder": _LEVELS,
    "hierarchical": _LEVELS,
    "mixture": Settings(likelihood="bernoulli", prior="gaussian-mixture(components=10)", cluster_epoch=10),
    "ladder-mixture": replace(_LEVELS, prior="gaussian-mixture(components=10)", cluster_epoch=10),
}

# Below, numbers of epochs are this project's where the papers train until nothing improves.

# Networks and optimiser of Variational Laplace Autoencoders (Park, Kim, Kim, 2019); its initial weights and its
# centring of the pixels are not part of these settings.
_PARK = Settings(likelihood="gaussian", latent_dim=50, hidden=(500, 500), epochs=2000, batch_size=128, lr=5e-4)

# Variational Lossy Autoencoder (Chen et al., 2017): one setting for all binary images; of the residual networks only
# the kind is stated. 0.01 nat a pixel are 7.84.
_LOSSY = Settings(
    likelihood="pixelcnn(window=(13, 6), layers=6, channels=12, tied=True)",
    prior="autoregressive-flow(flows=4, hidden=(640, 640), transform='mean')",
    loss="free-bits(total=7.84)",
    network="resnet",
    latent_dim=64,
    hidden=(32, 64, 64),
    epochs=200,
    lr=2e-3,
    optimizer="adamax",
    ema=0.998,
)
_LOSSY_COLOUR = replace(
    _LOSSY,
    likelihood="pixelcnnpp(window=(7, 4), layers=4, channels=64)",
    prior="convolutional-flow(event_shape=(16, 8, 8), flows=6)",
    loss="free-bits(total=30.72)",
    latent_dim=1024,
)

# MAE (Ma, Zhou, Hovy, 2019), from its code; without its gradient clipping and its halving of the learning rate.
_MAE = Settings(
    likelihood="pixelcnn(layers=8, channels=64)",
    prior="autoregressive-flow(flows=8, hidden=(320,))",
    loss="mutual-posterior-divergence(eta=1, gamma=0.5)",
    network="resnet",
    latent_dim=32,
    hidden=(32, 64, 64),
    epochs=200,
    batch_size=100,
    ema=0.999,
)
_MAE_COLOUR = replace(
    _MAE,
    likelihood="pixelcnnpp(layers=6, channels=96, components=10)",
    prior="convolutional-flow(event_shape=(16, 8, 8), flows=8)",
    latent_dim=1024,
    batch_size=64,
    ema=0.9995,
)

# Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), from its code; its fully
# connected top and its batch norm are a third convolution here.
_LADDER = Settings(
    likelihood="gaussian(scale=0.25, learn=False)",
    network="conv(hidden=1024)",
    latent_dim=(2, 2, 2),
    hidden=(64, 128, 256),
    warmup=15_000,
    epochs=200,
    batch_size=100,
    lr=2e-4,
)
_LADDER_COLOUR = replace(
    _LADDER,
    likelihood="gaussian(scale=0.177, learn=False)",
    latent_dim=(5, 5, 5, 10),
    hidden=(64, 128, 256, 512),
)

# Multi-Facet Clustering Variational Autoencoders (Falck et al., 2021), the nearest published code.
_FACETS = replace(
    _LADDER,
    likelihood="gaussian(scale=0.35, learn=False)",
    prior="gaussian-mixture(components=25)",
    loss="progressive-elbo(steps=15000)",
    latent_dim=(5, 5),
    hidden=(64, 128),
    warmup=0,
)
_FACETS_COLOUR = replace(
    _FACETS,
    likelihood="gaussian(scale=0.3, learn=False)",
    prior="gaussian-mixture(components=200), gaussian-mixture(components=50)",
    latent_dim=(22, 7),
)

_CLUSTERS = Settings(
    likelihood="bernoulli",
    prior="gaussian-mixture(components=10)",
    latent_dim=100,
    hidden=(500, 500),
    epochs=200,
    lr=3e-4,
)

_BINARY = ("mnist", "omniglot", "caltech-101-silhouettes")

#: As published, by recipe and data set; the first data set's settings serve others too.
PUBLISHED: dict[str, dict[str, Settings]] = {
    "vae": {"mnist": _PARK},
    "laplace": {"mnist": _PARK},
    "lossy": {**dict.fromkeys(_BINARY, _LOSSY), "cifar10": _LOSSY_COLOUR},
    "af-prior": {
        **dict.fromkeys(_BINARY, replace(_LOSSY, likelihood="bernoulli")),
        "cifar10": replace(_LOSSY_COLOUR, likelihood="discretized-logistic"),
    },
    "mae": {**dict.fromkeys(_BINARY, _MAE), "cifar10": _MAE_COLOUR},
    "pixelcnn": {
        **dict.fromkeys(_BINARY, replace(_LOSSY, prior="standard-normal", loss=None, latent_dim=1)),
        "cifar10": replace(_LOSSY_COLOUR, prior="standard-normal", loss=None, latent_dim=1),
    },
    "ladder": {"mnist": _LADDER, "svhn": _LADDER_COLOUR},
    "hierarchical": {"mnist": _LADDER, "svhn": _LADDER_COLOUR},
    "mixture": {"mnist": _CLUSTERS, "fashion-mnist": _CLUSTERS},
    "ladder-mixture": {"mnist": _FACETS, "svhn": _FACETS_COLOUR},
}
