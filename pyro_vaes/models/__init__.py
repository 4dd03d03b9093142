"""Pyro models with several latents or clusters, each with its guides.

A level's latents are ``"z1"``, the lowest, to ``"zL"``; clusters are ``"y"``, or ``"y1"`` ... on levels.
"""

from pyro_vaes.models.base import LevelsGuide, LevelsModel
from pyro_vaes.models.cluster_init import initialize_from_codes
from pyro_vaes.models.cluster_posterior import ClusterPosterior
from pyro_vaes.models.conditional_normal import ConditionalNormal
from pyro_vaes.models.hierarchical import HierarchicalGuide, HierarchicalVAE, TopDownGuide
from pyro_vaes.models.ladder import LadderGuide, LadderVAE
from pyro_vaes.models.ladder_mixture import LadderMixtureGuide, LadderMixtureVAE
from pyro_vaes.models.mixture import MixtureGuide, MixtureVAE

__all__ = [
    "ClusterPosterior",
    "ConditionalNormal",
    "HierarchicalGuide",
    "HierarchicalVAE",
    "LadderGuide",
    "LadderMixtureGuide",
    "LadderMixtureVAE",
    "LadderVAE",
    "LevelsGuide",
    "LevelsModel",
    "MixtureGuide",
    "MixtureVAE",
    "TopDownGuide",
    "initialize_from_codes",
]
