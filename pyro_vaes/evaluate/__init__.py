"""Evaluation of models and guides."""

from pyro_vaes.evaluate.annealing import (
    AnnealedLikelihood,
    Sandwich,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
)
from pyro_vaes.evaluate.arviz_export import to_arviz
from pyro_vaes.evaluate.calibration import Calibration, calibration
from pyro_vaes.evaluate.classification import Classification, classification
from pyro_vaes.evaluate.clustering import Clustering, clustering
from pyro_vaes.evaluate.differences import MeanInterval, difference, mean_interval, rank_ranges
from pyro_vaes.evaluate.factor_probes import FactorProbe, FactorProbes, factor_probes
from pyro_vaes.evaluate.fit_prior import FittedPrior, fit_prior
from pyro_vaes.evaluate.gaps import InferenceGaps, inference_gaps
from pyro_vaes.evaluate.impute import Imputation, impute
from pyro_vaes.evaluate.log_likelihood import LogLikelihood, log_likelihood
from pyro_vaes.evaluate.log_weights import log_weights
from pyro_vaes.evaluate.marginal.estimate import MarginalLogLikelihood, marginal_log_likelihood
from pyro_vaes.evaluate.mutual_information import MutualInformation, mutual_information
from pyro_vaes.evaluate.nuts_reference import ReferencePosterior, reference_posterior
from pyro_vaes.evaluate.posterior_covariance import posterior_covariance
from pyro_vaes.evaluate.posterior_means import active_units, posterior_mean, posterior_means
from pyro_vaes.evaluate.ppca import PPCA, ppca
from pyro_vaes.evaluate.predictive_check import PredictiveCheck, predictive_check
from pyro_vaes.evaluate.psis import pareto_k, smoothed_weights
from pyro_vaes.evaluate.reference import ReferenceComparison, compare_with_reference
from pyro_vaes.evaluate.representation import Representation, representation
from pyro_vaes.evaluate.timing import inference_ms

__all__ = [
    "PPCA",
    "AnnealedLikelihood",
    "Calibration",
    "Classification",
    "Clustering",
    "FactorProbe",
    "FactorProbes",
    "FittedPrior",
    "Imputation",
    "InferenceGaps",
    "LogLikelihood",
    "MarginalLogLikelihood",
    "MeanInterval",
    "MutualInformation",
    "PredictiveCheck",
    "ReferenceComparison",
    "ReferencePosterior",
    "Representation",
    "Sandwich",
    "active_units",
    "annealed_importance_sampling",
    "bidirectional_monte_carlo",
    "calibration",
    "classification",
    "clustering",
    "compare_with_reference",
    "difference",
    "factor_probes",
    "fit_prior",
    "impute",
    "inference_gaps",
    "inference_ms",
    "log_likelihood",
    "log_weights",
    "marginal_log_likelihood",
    "mean_interval",
    "mutual_information",
    "pareto_k",
    "posterior_covariance",
    "posterior_mean",
    "posterior_means",
    "ppca",
    "predictive_check",
    "rank_ranges",
    "reference_posterior",
    "representation",
    "smoothed_weights",
    "to_arviz",
]
