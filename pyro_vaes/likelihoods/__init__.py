"""Likelihoods p(x | features): modules that turn a decoder's output into a distribution over x.

One file each; the command line knows each by its name in kebab case.
"""

from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.bernoulli import Bernoulli
from pyro_vaes.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_vaes.likelihoods.gaussian import Gaussian
from pyro_vaes.likelihoods.pixelcnn import PixelCNN, PixelCNNPP
from pyro_vaes.likelihoods.poisson import Poisson

__all__ = ["Bernoulli", "DiscretizedLogistic", "Gaussian", "Likelihood", "PixelCNN", "PixelCNNPP", "Poisson"]
