"""Contract checks for your own priors, likelihoods, models, guides and losses.

In a test file or a notebook::

    from pyro_vaes.testing import check_prior

    def test_my_prior():
        check_prior(MyPrior)

The library's own priors, likelihoods, models, guides and losses pass the same checks.
"""

from pyro_vaes.testing.guides import GUIDE_CHECKS, check_guide
from pyro_vaes.testing.likelihoods import LIKELIHOOD_CHECKS, check_likelihood
from pyro_vaes.testing.losses import LOSS_CHECKS, check_loss
from pyro_vaes.testing.models import MODEL_CHECKS, check_model
from pyro_vaes.testing.pairs import LATENT_DIM, Check, Pair, pair
from pyro_vaes.testing.priors import PRIOR_CHECKS, check_prior

__all__ = [
    "GUIDE_CHECKS",
    "LATENT_DIM",
    "LIKELIHOOD_CHECKS",
    "LOSS_CHECKS",
    "MODEL_CHECKS",
    "PRIOR_CHECKS",
    "Check",
    "Pair",
    "check_guide",
    "check_likelihood",
    "check_loss",
    "check_model",
    "check_prior",
    "pair",
]
