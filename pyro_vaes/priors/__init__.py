"""Priors p(z): modules that, called, give a distribution with event shape ``(Z,)``.

One file each; the command line knows each by its name in kebab case.
"""

from pyro_vaes.priors.autoregressive_flow import AutoregressiveFlow
from pyro_vaes.priors.base import Prior
from pyro_vaes.priors.convolutional_flow import ConvolutionalFlow
from pyro_vaes.priors.gaussian_mixture import GaussianMixture
from pyro_vaes.priors.standard_normal import StandardNormal
from pyro_vaes.priors.vamp_prior import VampPrior

__all__ = ["AutoregressiveFlow", "ConvolutionalFlow", "GaussianMixture", "Prior", "StandardNormal", "VampPrior"]
