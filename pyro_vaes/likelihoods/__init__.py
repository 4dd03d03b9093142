"""Likelihoods p(x | features): modules that map a decoder's output to a distribution over x.

Their names on the command line are those of the classes in kebab case.
"""

from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.bernoulli import Bernoulli
from pyro_vaes.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_vaes.likelihoods.gaussian import Gaussian
from pyro_vaes.likelihoods.pixelcnn import PixelCNN, PixelCNNPP
from pyro_vaes.likelihoods.poisson import Poisson

__all__ = ["Bernoulli", "DiscretizedLogistic", "Gaussian", "Likelihood", "PixelCNN", "PixelCNNPP", "Poisson"]
