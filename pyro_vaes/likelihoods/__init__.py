"""Likelihoods p(x | features): modules that map a decoder's output to a distribution over x.

Their names on the command line are those of the classes in kebab case.
"""

from pyro_vaes.likelihoods.base import Likelihood
from pyro_vaes.likelihoods.bernoulli import Bernoulli
from pyro_vaes.likelihoods.categorical import Categorical
from pyro_vaes.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_vaes.likelihoods.gaussian import Gaussian
from pyro_vaes.likelihoods.heteroscedastic_gaussian import HeteroscedasticGaussian
from pyro_vaes.likelihoods.negative_binomial import NegativeBinomial
from pyro_vaes.likelihoods.pixelcnn import PixelCNN, PixelCNNPP
from pyro_vaes.likelihoods.poisson import Poisson
from pyro_vaes.likelihoods.residual_pixelcnn import ResidualPixelCNN, SkipPixelCNN
from pyro_vaes.likelihoods.standardized import Standardized
from pyro_vaes.likelihoods.student_t import StudentT
from pyro_vaes.likelihoods.zero_inflated import ZeroInflated

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "NegativeBinomial",
    "PixelCNN",
    "PixelCNNPP",
    "Poisson",
    "ResidualPixelCNN",
    "SkipPixelCNN",
    "Standardized",
    "StudentT",
    "ZeroInflated",
]
