"""Systems of several latents, or of clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

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
)
from pyro_vaes.priors import Prior
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
from pyro_vaes.recipes.published import SMALL
from pyro_vaes.recipes.recipe import System, records_origin
from pyro_vaes.recipes.settings import Settings
from pyro_vaes.recipes.spec import resolve, split
from pyro_vaes.vae import SequentialGuide

Ladder = TypeVar("Ladder", bound=LadderVAE)


OfLadder = TypeVar("OfLadder", bound=LadderGuide)


LADDERS: Networks = {
    "mlp": (networks.LadderMLPEncoder, networks.LadderMLPDecoder),
    "conv": (networks.LadderConvEncoder, networks.LadderConvDecoder),
}


@records_origin
def ladder(event_shape: Sequence[int], settings: Settings = SMALL["ladder"]) -> System[LadderVAE, LadderGuide]:
    """VLAE: independent latents at several depths. Learning Hierarchical Features (Zhao, Song, Ermon, 2017)."""
    return _ladder(LadderVAE, LadderGuide, event_shape, settings)


@records_origin
def ladder_mixture(
    event_shape: Sequence[int], settings: Settings = SMALL["ladder-mixture"]
) -> System[LadderMixtureVAE, LadderMixtureGuide]:
    """VLAC: a ladder with clusters on its levels. Variational ladder autoencoder clustering (Willetts et al., 2019)."""
    return _ladder(LadderMixtureVAE, LadderMixtureGuide, event_shape, settings)


@records_origin
def hierarchical(
    event_shape: Sequence[int], settings: Settings = SMALL["hierarchical"]
) -> System[HierarchicalVAE, SequentialGuide]:
    """Stacked latents, each the parent of the one below. Deep latent Gaussian models (Rezende et al., 2014)."""
    likelihood = build_likelihood(event_shape, settings)
    decoder = build_decoder(features_shape(likelihood, event_shape), settings)
    sizes = settings.levels
    below = [ConditionalNormal(_between(above, settings), size) for size, above in itertools.pairwise(sizes)]
    model = HierarchicalVAE(decoder, build_prior(settings.prior, sizes[-1]), below, likelihood)
    guide = _hierarchical_guide(model, event_shape, settings)
    return System(model, guide, build_loss(guide, settings))


@records_origin
def mixture(event_shape: Sequence[int], settings: Settings = SMALL["mixture"]) -> System[MixtureVAE, MixtureGuide]:
    """GM-DGM: explicit clusters, summed out exactly. Semi-supervised learning, model M2 (Kingma et al., 2014)."""
    _refuse_guide(settings)
    likelihood = build_likelihood(event_shape, settings)
    decoder = build_decoder(features_shape(likelihood, event_shape), settings)
    model = MixtureVAE(decoder, build_prior(settings.prior, settings.size), likelihood)  # type: ignore[arg-type]
    guide = MixtureGuide(model, build_encoder(event_shape, settings))
    return System(model, guide, build_loss(guide, settings))


def _refuse_guide(settings: Settings) -> None:
    if settings.guide is not None:
        raise InputError(f"guide is {settings.guide!r}, but this model has a guide of its own: leave it out")


def _ladder(
    model_class: type[Ladder], guide_class: type[OfLadder], event_shape: Sequence[int], settings: Settings
) -> System[Ladder, OfLadder]:
    _refuse_guide(settings)
    model = model_class(*_ladder_parts(event_shape, settings))
    guide = guide_class(model, build_encoder(event_shape, settings, LADDERS))
    return System(model, guide, build_loss(guide, settings))


def _ladder_parts(event_shape: Sequence[int], settings: Settings) -> tuple[nn.Module, list[Prior], Likelihood]:
    """Decoder, priors and likelihood; grey digits merge by gates, all else by concatenation, as was published."""
    likelihood = build_likelihood(event_shape, settings)
    merge = "gate" if event_shape[0] == 1 else "concatenate"
    shape = features_shape(likelihood, event_shape)
    decoder = build_network(1, settings.network, LADDERS, settings.levels, shape, settings.hidden, merge=merge)
    names = split(settings.prior)
    names = names * len(settings.levels) if len(names) == 1 else names
    if len(names) != len(settings.levels):
        raise InputError(
            f"there are {len(names)} priors for {len(settings.levels)} levels: give one for all, or one a level"
        )
    return decoder, [build_prior(*pair) for pair in zip(names, settings.levels, strict=True)], likelihood


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
    upper = [_between(size, settings) for size in settings.levels[:-1]]
    return HierarchicalGuide(model, [build_encoder(event_shape, settings), *upper])
