"""Likelihoods of vectors with scales of their own."""

import torch

from pyro_vaes.likelihoods import Likelihood

SHAPE = (5,)


def per_pixel(likelihood):
    """The likelihood with another random scale for each pixel."""
    torch.nn.init.normal_(likelihood.log_scale)
    return likelihood


def weighted_moments(likelihood, features, values, weights):
    """Σ p, Σ p x and Σ p score² of single values x, the sums over all x with these weights.

    Args:
        likelihood: a likelihood of data of shape (1,).
        features: ``(B, F)``.
        values: all x, ``(K, B)`` or ``(K, 1)``.
        weights: 1 for each x of an enumeration, or the weights of a quadrature, as ``values``.

    Returns:
        Total probability ``(B,)``, mean ``(B, 1)`` and mean squared score ``(B, F)``.
    """
    x = values.expand(len(values), len(features)).unsqueeze(-1)
    p = likelihood(features).log_prob(x).exp() * weights
    score = likelihood.score(features.expand(len(values), *features.shape), x)
    return p.sum(0), (p.unsqueeze(-1) * x).sum(0), (p.unsqueeze(-1) * score.square()).sum(0)


def assert_exact(likelihood, features, values, weights=1.0):
    """Assert that p is normalized, that mean and fisher are its exact expectations, and the score its gradient."""
    total, mean, fisher = weighted_moments(likelihood, features, values, weights)
    torch.testing.assert_close(total, torch.ones_like(total))
    torch.testing.assert_close(likelihood.mean(features), mean)
    torch.testing.assert_close(likelihood.fisher(features), fisher)
    assert (likelihood.fisher(features) > 0).all()
    x = likelihood(features).sample()
    torch.testing.assert_close(likelihood.score(features, x), Likelihood.score(likelihood, features, x))
