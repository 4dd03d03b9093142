"""Settings of the recipes: small ones, for 2 cores, and those of the papers and their code."""

from __future__ import annotations

from dataclasses import replace

from pyro_vaes.settings import Settings

#: For 2 cores.
PIXELCNN = Settings(
    likelihood="pixelcnn(layers=6, channels=12)", latent_dim=20, epochs=3, batch_size=32, lr=2e-3, ema=0.99
)
HIERARCHY = Settings(
    likelihood="gaussian(scale=0.177, learn=False)", latent_dim=(4, 12), hidden=(384, 256), warmup=100, batch_size=100
)

# Below, numbers of epochs are this project's where the papers train until nothing improves.

# Variational Laplace Autoencoders (Park, Kim, Kim, 2019), on centered pixels, or on binarized ones as they are.
PARK = Settings(
    center=True,
    likelihood="gaussian",
    network="mlp-kaiming-head",
    latent_dim=50,
    hidden=(500, 500),
    epochs=2000,
    batch_size=128,
    lr=5e-4,
)

PARK_BINARY = replace(PARK, center=False, likelihood="bernoulli")

# Variational Lossy Autoencoder (Chen et al., 2017): one setting for all binary images; of the residual networks only
# the kind is stated. 0.01 nat a pixel are 7.84.
LOSSY = Settings(
    likelihood="residual-pixelcnn(layers=6, channels=12, tied=True)",
    prior="autoregressive-flow(flows=4, hidden=(640, 640), transform='mean')",
    loss="free-bits(total=7.84)",
    network="resnet",
    latent_dim=64,
    hidden=(32, 64, 64),
    weight_norm=True,
    epochs=200,
    lr=2e-3,
    optimizer="adamax",
    ema=0.998,
)
LOSSY_COLOR = replace(
    LOSSY,
    likelihood="pixelcnnpp(window=(7, 4), blocks=4, channels=64)",
    prior="convolutional-flow(event_shape=(16, 8, 8), flows=6)",
    loss="free-bits(total=30.72)",
    network="densenet",
    latent_dim=1024,
    hidden=(48, 96, 192),
)

# MAE (Ma, Zhou, Hovy, 2019), from its code, whose training ends when the learning rate is halved for the third time.
MAE = Settings(
    likelihood="skip-pixelcnn",
    prior="autoregressive-flow(flows=8, hidden=(320,))",
    loss="mutual-posterior-divergence(eta=1, gamma=0.5)",
    network="resnet-linear",
    latent_dim=32,
    hidden=(32, 64, 64),
    weight_norm=True,
    epochs=1000,
    batch_size=100,
    schedule="plateau(factor=0.5, patience=20, decay=0.999998, end=3)",
    clip_norm=5.0,
    ema=0.999,
)
MAE_COLOR = replace(
    MAE,
    likelihood="pixelcnnpp(features=16, blocks=6, channels=96, dropout=0.5)",
    prior="convolutional-flow(event_shape=(16, 8, 8), flows=8, channels=(128, 128, 128))",
    network="densenet",
    latent_dim=1024,
    hidden=(48, 96, 192),
    batch_size=64,
    schedule="plateau(factor=0.5, patience=50, decay=0.999995, end=3)",
    optimizer="adam(betas=(0.95, 0.9995))",
    ema=0.9995,
)

# Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017), from its code, whose fully
# connected top is a third convolution here. Faces are in [-1, 1] there, so that their scale is halved.
LADDER = Settings(
    likelihood="gaussian(scale=0.25, learn=False)",
    network="conv(hidden=1024)",
    batch_norm=True,
    latent_dim=(2, 2, 2),
    hidden=(64, 128, 256),
    warmup=15_000,
    epochs=200,
    batch_size=100,
    lr=2e-4,
)
LADDER_COLOR = replace(
    LADDER,
    likelihood="gaussian(scale=0.177, learn=False)",
    denoise=True,
    latent_dim=(5, 5, 5, 10),
    hidden=(64, 128, 256, 512),
)
LADDER_FACES = replace(LADDER_COLOR, likelihood="gaussian(scale=0.088, learn=False)", latent_dim=(10, 10, 10, 10))

# Multi-Facet Clustering Variational Autoencoders (Falck et al., 2021), the nearest published code: the highest level is
# alone for 101 epochs, of 114 steps on MNIST and 476 on SVHN; then its mixture starts, and the others fade in.
FACETS = replace(
    LADDER,
    likelihood="gaussian(scale=0.35, learn=False)",
    prior="gaussian-mixture(components=25, learn_weights=False)",
    loss="progressive-elbo(steps=15000, alone=11514)",
    network="mlp",
    batch_norm=False,
    latent_dim=(5, 5),
    hidden=(500, 2000),
    warmup=0,
    cluster_epoch=101,
    epochs=350,
    batch_size=512,
    lr=5e-4,
)
FACETS_COLOR = replace(
    FACETS,
    likelihood="gaussian(scale=0.3, learn=False)",
    prior=(
        "gaussian-mixture(components=200, learn_weights=False, full_covariance=True), "
        "gaussian-mixture(components=50, learn_weights=False, full_covariance=True)"
    ),
    loss="progressive-elbo(steps=15000, alone=48076)",
    network="conv(hidden=1024)",
    latent_dim=(22, 7),
    hidden=(64, 128),
    batch_size=150,
)

# Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014), unsupervised, as in the code of GM-DGM.
# The weight decay is the log density of weights under N(0, 1), per example of 58,000.
CLUSTERS = Settings(
    guide="two-encoder-mixture-guide",
    likelihood="bernoulli",
    prior="gaussian-mixture(components=10, learn_weights=False)",
    latent_dim=100,
    hidden=(500, 500),
    epochs=200,
    batch_size=100,
    lr=3e-4,
    optimizer="adam(weight_decay=1.724e-05)",
)

BINARY = ("mnist", "binarized-mnist", "omniglot", "caltech-101-silhouettes")  # data sets with one setting
