"""Objectives, one file each, usable in stock ``pyro.infer.SVI`` and in ``fit``."""

from pyro_vaes.losses.base import Loss
from pyro_vaes.losses.elbo import ELBO, Warmup

__all__ = ["ELBO", "Loss", "Warmup"]
