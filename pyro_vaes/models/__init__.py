"""Pyro models with several latents or clusters, each with its guides.

The latents are ``"z1"``, the lowest, to ``"zL"``; clusters are ``"y"``, or ``"y1"`` … of several latents.
"""

from pyro_vaes.models.cluster_init import initialize_from_codes
from pyro_vaes.models.cluster_posterior import ClusterParameters, ClusterPosterior
from pyro_vaes.models.clustered import ClusteredModel
from pyro_vaes.models.conditional import ConditionalVAE
from pyro_vaes.models.conditional_normal import ConditionalNormal
from pyro_vaes.models.conditional_prior import ConditionalPrior
from pyro_vaes.models.hierarchical import HierarchicalGuide, HierarchicalVAE, TopDownGuide
from pyro_vaes.models.ladder import LadderGuide, LadderVAE
from pyro_vaes.models.ladder_mixture import LadderMixtureGuide, LadderMixtureVAE
from pyro_vaes.models.mixture import MixtureGuide, MixtureVAE, TwoEncoderMixtureGuide

__all__ = [
    "ClusterParameters",
    "ClusterPosterior",
    "ClusteredModel",
    "ConditionalNormal",
    "ConditionalPrior",
    "ConditionalVAE",
    "HierarchicalGuide",
    "HierarchicalVAE",
    "LadderGuide",
    "LadderMixtureGuide",
    "LadderMixtureVAE",
    "LadderVAE",
    "MixtureGuide",
    "MixtureVAE",
    "TopDownGuide",
    "TwoEncoderMixtureGuide",
    "initialize_from_codes",
]
