"""Guides q(z | x), one file each; the command line knows each by its name in kebab case."""

from pyro_vaes.guides.full_covariance import FullCovariance
from pyro_vaes.guides.laplace import Laplace
from pyro_vaes.guides.mean_field import MeanField

__all__ = ["FullCovariance", "Laplace", "MeanField"]
