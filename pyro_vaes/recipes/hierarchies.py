"""Systems of several latents, or of clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from pyro_vaes import models, networks
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models import (
    ConditionalNormal,
    HierarchicalGuide,
    HierarchicalVAE,
    LadderGuide,
    LadderMixtureGuide,
    LadderMixtureVAE,
    LadderVAE,
    MixtureGuide,
    MixtureVAE,
    TopDownGuide,
    TwoEncoderMixtureGuide,
)
from pyro_vaes.models.sequential_guide import SequentialGuide
from pyro_vaes.priors import GaussianMixture, Prior
from pyro_vaes.recipes.build import (
    Networks,
    build_decoder,
    build_encoder,
    build_likelihood,
    build_loss,
    build_network,
    build_prior,
    features_shape,
)
from pyro_vaes.recipes.published import CLUSTERS, FACETS, FACETS_COLOR, HIERARCHY, LADDER, LADDER_COLOR, LADDER_FACES
from pyro_vaes.recipes.recipe import Recipe, System
from pyro_vaes.recipes.spec import resolve, split
from pyro_vaes.settings import Settings

LADDERS: Networks = {
    "mlp": (networks.LadderMLPEncoder, networks.LadderMLPDecoder),
    "conv": (networks.LadderConvEncoder, networks.LadderConvDecoder),
}


def build_hierarchical(event_shape: Sequence[int], settings: Settings) -> System[HierarchicalVAE, SequentialGuide]:
    """Stacked latents, each the parent of the one below."""
    likelihood = build_likelihood(event_shape, settings)
    decoder = build_decoder(features_shape(likelihood, event_shape), settings)
    sizes = settings.latent_dims
    below = [ConditionalNormal(_between(above, settings), size) for size, above in itertools.pairwise(sizes)]
    model = HierarchicalVAE(decoder, build_prior(settings.prior, sizes[-1]), below, likelihood)
    guide = _hierarchical_guide(model, event_shape, settings)
    return System(model, guide, build_loss(guide, settings))


def build_mixture(event_shape: Sequence[int], settings: Settings) -> System[MixtureVAE, MixtureGuide]:
    """Explicit clusters, summed out exactly."""
    likelihood = build_likelihood(event_shape, settings)
    decoder = build_decoder(features_shape(likelihood, event_shape), settings)
    model = MixtureVAE(decoder, build_prior(settings.prior, settings.size), likelihood)  # type: ignore[arg-type]
    guide = _mixture_guide(model, event_shape, settings)
    return System(model, guide, build_loss(guide, settings))


def _mixture_guide(model: MixtureVAE, event_shape: Sequence[int], settings: Settings) -> MixtureGuide:
    """One encoder for both posteriors, or two where the settings say so."""
    name = settings.guide or "mixture-guide"
    if name not in ("mixture-guide", "two-encoder-mixture-guide"):
        raise InputError(f"guide is {name!r}: expected mixture-guide or two-encoder-mixture-guide, without options")
    encoder = build_encoder(event_shape, settings)
    if name == "mixture-guide":
        return MixtureGuide(model, encoder)
    return TwoEncoderMixtureGuide(model, encoder, build_encoder(event_shape, settings))


def _refuse_guide(settings: Settings) -> None:
    if settings.guide is not None:
        raise InputError(f"guide is {settings.guide!r}, but this model has a guide of its own: leave it out")


def build_ladder(event_shape: Sequence[int], settings: Settings) -> System[LadderVAE, LadderGuide]:
    """Independent latents at several depths."""
    _refuse_guide(settings)
    model = LadderVAE(*_ladder_parts(event_shape, settings))
    guide = LadderGuide(model, build_encoder(event_shape, settings, LADDERS))
    return System(model, guide, build_loss(guide, settings))


def build_ladder_mixture(
    event_shape: Sequence[int], settings: Settings
) -> System[LadderMixtureVAE, LadderMixtureGuide]:
    """Independent latents at several depths, with clusters; labels are of those of the highest one."""
    _refuse_guide(settings)
    decoder, priors, likelihood = _ladder_parts(event_shape, settings)
    clusters = [f"y{level}" for level, prior in enumerate(priors, 1) if isinstance(prior, GaussianMixture)]
    labeled = [] if settings.labels is None else clusters[-1:]
    model = LadderMixtureVAE(decoder, priors, likelihood, cluster_sites=labeled)
    guide = LadderMixtureGuide(model, build_encoder(event_shape, settings, LADDERS))
    return System(model, guide, build_loss(guide, settings))


def _ladder_parts(event_shape: Sequence[int], settings: Settings) -> tuple[nn.Module, list[Prior], Likelihood]:
    """Decoder, priors and likelihood; gray digits merge by gates, all else by concatenation, as was published."""
    likelihood = build_likelihood(event_shape, settings)
    merge = "gate" if event_shape[0] == 1 else "concatenate"
    shape = features_shape(likelihood, event_shape)
    decoder = build_network(1, settings, LADDERS, settings.latent_dims, shape, settings.hidden, merge=merge)
    names = split(settings.prior)
    names = names * len(settings.latent_dims) if len(names) == 1 else names
    if len(names) != len(settings.latent_dims):
        raise InputError(
            f"there are {len(names)} priors for {len(settings.latent_dims)} latents: give one for all, or one each"
        )
    return decoder, [build_prior(*pair) for pair in zip(names, settings.latent_dims, strict=True)], likelihood


def _between(size: int, settings: Settings) -> nn.Module:
    """The network from one level of a hierarchy to the next."""
    return networks.MLPEncoder((size,), (settings.hidden[-1],))


def _hierarchical_guide(model: HierarchicalVAE, event_shape: Sequence[int], settings: Settings) -> SequentialGuide:
    """Bottom-up, or top-down where the settings say so; the guides of other models do not fit."""
    name = settings.guide or "hierarchical-guide"
    found, options = resolve("guide", models, SequentialGuide, name)
    if options or found not in (HierarchicalGuide, TopDownGuide):
        raise InputError(f"guide is {name!r}: expected hierarchical-guide or top-down-guide, without options")
    if found is TopDownGuide:
        return TopDownGuide(model, build_encoder(event_shape, settings, LADDERS))
    upper = [_between(size, settings) for size in settings.latent_dims[:-1]]
    return HierarchicalGuide(model, [build_encoder(event_shape, settings), *upper])


#: The recipe ``ladder``; its attribute ``paper`` says what it is.
ladder = Recipe(
    "ladder",
    build_ladder,
    "VLAE: independent latents at several depths. Learning Hierarchical Features (Zhao, Song, Ermon, 2017).",
    small=HIERARCHY,
    published={"mnist": LADDER, "svhn": LADDER_COLOR, "celeba": LADDER_FACES},
)
#: The recipe ``hierarchical``; its attribute ``paper`` says what it is.
hierarchical = Recipe(
    "hierarchical",
    build_hierarchical,
    "Stacked latents, each the parent of the one below. Deep latent Gaussian models (Rezende et al., 2014).",
    small=HIERARCHY,
    published={"mnist": LADDER, "svhn": LADDER_COLOR, "celeba": LADDER_FACES},
)
#: The recipe ``mixture``; its attribute ``paper`` says what it is.
mixture = Recipe(
    "mixture",
    build_mixture,
    "GM-DGM: explicit clusters, summed out exactly. Semi-supervised learning, model M2 (Kingma et al., 2014).",
    small=Settings(likelihood="bernoulli", prior="gaussian-mixture(components=10)", cluster_epoch=10),
    published={"mnist": CLUSTERS, "fashion-mnist": CLUSTERS},
)
#: The recipe ``ladder-mixture``; its attribute ``paper`` says what it is.
ladder_mixture = Recipe(
    "ladder-mixture",
    build_ladder_mixture,
    "VLAC: a ladder with clusters. Variational ladder autoencoder clustering (Willetts et al., 2019).",
    small=replace(HIERARCHY, warmup=0, prior="gaussian-mixture(components=10)", cluster_epoch=10),
    published={"mnist": FACETS, "svhn": FACETS_COLOR},
)
