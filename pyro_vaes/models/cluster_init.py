"""Mixture priors set to the clusters that a trained guide's codes form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vaes.models.cluster_posterior import ClusterPosterior
from pyro_vaes.priors import GaussianMixture

CHUNK = 1000  # data encoded at a time


STARTS = 10  # of the fit, of which the best is taken


ENOUGH = 10  # codes a component and dimension, from which full covariances are fitted


EMPTY = 10.0  # nats that a cluster without data lies below the others


@torch.no_grad()
def initialize_from_codes(model: Any, guide: Any, x: Tensor) -> None:
    """Set every Gaussian mixture prior to one that scikit-learn fits to codes, a draw from q(z_l | x) a datum.

    Draws rather than means, since the prior that the ELBO asks for is the aggregate posterior. With enough codes the
    fitted components have full covariances, which follow clusters that lie askew, and the prior takes their diagonals.
    Where the guide has a q(y | x) of its own, logistic regression on the encoder's features sets it to the clusters
    that the codes fell into, and q(z | x, y) starts alike for every y. The start of the fit comes from torch's
    generator.

    Args:
        model: a ``MixtureVAE``, ``LadderMixtureVAE``, or ladder with Gaussian mixture priors.
        guide: its guide.
        x: the training data, or enough of them, ``(N, *event_shape)``.

    Raises:
        InputError: for more clusters than data; names the most that fit.

    References:
        Variational Deep Embedding (Jiang, Zheng, Tan, Tang, Zhou, 2017).

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = pv.models.MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> initialize_from_codes(model, pv.models.MixtureGuide(model, encoder), x)
        >>> round(model.prior.logits.exp().sum().item(), 4)
        1.0
    """
    for prior in model.priors:
        if isinstance(prior, GaussianMixture):
            prior.initialize(x)
    batches = x.split(CHUNK)
    draws = [[q.sample() for q in guide.posteriors(batch)] for batch in batches]
    features = [guide.features(batch) for batch in batches]
    levels = zip(model.priors, guide.heads, zip(*draws, strict=True), zip(*features, strict=True), strict=True)
    for prior, head, codes, inputs in levels:
        if isinstance(prior, GaussianMixture):
            clusters = _fit(prior, torch.cat(codes))
            if isinstance(head, ClusterPosterior):
                _follow(head, torch.cat(inputs), clusters)


def _fit(prior: GaussianMixture, codes: Tensor) -> np.ndarray:
    """Set a prior to the mixture of its codes; gives the cluster of each."""
    from sklearn import mixture

    seed, values, components = int(torch.randint(2**31, ())), codes.double().cpu().numpy(), len(prior.logits)
    full = len(values) >= ENOUGH * components * values.shape[1]
    kind = "full" if full else "diag"
    fitted = mixture.GaussianMixture(components, covariance_type=kind, n_init=STARTS, random_state=seed)
    clusters, variances = fitted.fit_predict(values), torch.from_numpy(fitted.covariances_)
    prior.logits.copy_(torch.from_numpy(fitted.weights_).log())
    prior.locs.copy_(torch.from_numpy(fitted.means_))
    prior.log_scales.copy_(0.5 * (variances.diagonal(dim1=-2, dim2=-1) if full else variances).log())
    return clusters


def _follow(head: ClusterPosterior, features: Tensor, clusters: np.ndarray) -> None:
    """Set q(y | h) to the clusters, and q(z | h, y) to what it was on average over y."""
    from sklearn.linear_model import LogisticRegression

    usage = head.clusters(features).probs.mean(0)
    head.shift.weight.copy_((usage @ head.shift.weight).expand_as(head.shift.weight))
    known = np.unique(clusters)
    if len(known) < 2:
        return
    scale = features.std(0).clamp_min(1e-3).double().cpu()
    fitted = LogisticRegression(max_iter=1000, tol=1e-2).fit((features.double().cpu() / scale).numpy(), clusters)
    weight, bias = torch.from_numpy(fitted.coef_) / scale, torch.from_numpy(fitted.intercept_)
    if len(known) == 2:  # scikit-learn gives the difference of the two logits alone
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    head.logits.weight.zero_()
    head.logits.bias.fill_(float(bias.min()) - EMPTY)
    head.logits.weight[known] = weight.to(head.logits.weight)
    head.logits.bias[known] = bias.to(head.logits.bias)
