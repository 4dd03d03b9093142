"""How good a model and its guide are."""

from pyro_vaes.evaluate.log_likelihood import LogLikelihood, log_likelihood, pareto_k
from pyro_vaes.evaluate.log_weights import log_weights
from pyro_vaes.evaluate.ppca import PPCA, ppca
from pyro_vaes.evaluate.representation import active_units, posterior_mean

__all__ = [
    "PPCA",
    "LogLikelihood",
    "active_units",
    "log_likelihood",
    "log_weights",
    "pareto_k",
    "posterior_mean",
    "ppca",
]
