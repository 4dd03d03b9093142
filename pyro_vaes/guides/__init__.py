"""Guides q(z | x). Their names on the command line are those of the classes in kebab case."""

from pyro_vaes.guides.boosted_mixture import BoostedMixture
from pyro_vaes.guides.full_covariance import FullCovariance
from pyro_vaes.guides.householder import Householder
from pyro_vaes.guides.inverse_autoregressive_flow import InverseAutoregressiveFlow
from pyro_vaes.guides.laplace import Laplace
from pyro_vaes.guides.low_rank import LowRank
from pyro_vaes.guides.mean_field import MeanField
from pyro_vaes.guides.mixture import Mixture
from pyro_vaes.guides.recursive_mixture import RecursiveMixture
from pyro_vaes.guides.semi_amortized import SemiAmortized

__all__ = [
    "BoostedMixture",
    "FullCovariance",
    "Householder",
    "InverseAutoregressiveFlow",
    "Laplace",
    "LowRank",
    "MeanField",
    "Mixture",
    "RecursiveMixture",
    "SemiAmortized",
]
