"""Priors p(z): modules that, when called, return a distribution with event shape ``(Z,)``.

Their names on the command line are those of the classes in kebab case.
"""

from pyro_vaes.priors.autoregressive_flow import AutoregressiveFlow
from pyro_vaes.priors.base import Prior
from pyro_vaes.priors.convolutional_flow import ConvolutionalFlow
from pyro_vaes.priors.flow_prior import FlowPrior
from pyro_vaes.priors.gaussian_mixture import GaussianMixture
from pyro_vaes.priors.hierarchical_prior import HierarchicalPrior
from pyro_vaes.priors.standard_normal import StandardNormal
from pyro_vaes.priors.vamp_prior import VampPrior

__all__ = [
    "AutoregressiveFlow",
    "ConvolutionalFlow",
    "FlowPrior",
    "GaussianMixture",
    "HierarchicalPrior",
    "Prior",
    "StandardNormal",
    "VampPrior",
]
