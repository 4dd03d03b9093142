"""Objectives, one file each, usable in stock ``pyro.infer.SVI`` and in ``fit``."""

from pyro_vaes.losses.base import Loss
from pyro_vaes.losses.elbo import ELBO
from pyro_vaes.losses.free_bits import FreeBits
from pyro_vaes.losses.iwae import IWAE
from pyro_vaes.losses.maximum_mean_discrepancy import MaximumMeanDiscrepancy
from pyro_vaes.losses.mixture_elbo import MixtureELBO, RecursiveMixtureELBO
from pyro_vaes.losses.mutual_posterior_divergence import MutualPosteriorDivergence
from pyro_vaes.losses.progressive import ProgressiveELBO
from pyro_vaes.losses.schedules import ExponentialWarmup, Warmup
from pyro_vaes.losses.semi_supervised import SemiSupervisedELBO
from pyro_vaes.losses.soft_free_bits import SoftFreeBits

__all__ = [
    "ELBO",
    "IWAE",
    "ExponentialWarmup",
    "FreeBits",
    "Loss",
    "MaximumMeanDiscrepancy",
    "MixtureELBO",
    "MutualPosteriorDivergence",
    "ProgressiveELBO",
    "RecursiveMixtureELBO",
    "SemiSupervisedELBO",
    "SoftFreeBits",
    "Warmup",
    "default_loss",
]


def default_loss(guide: object) -> Loss:
    """The loss of a guide's attribute ``loss``, a name in this package, a class or a method; else ``ELBO()``.

    Example:
        >>> import pyro_vaes as pv
        >>> default_loss(pv.guides.RecursiveMixture(vae, encoder))
        <pyro_vaes.losses.mixture_elbo.RecursiveMixtureELBO object at ...>
    """
    asked = getattr(guide, "loss", "ELBO")
    made: Loss = globals()[asked]() if isinstance(asked, str) else asked()
    return made
