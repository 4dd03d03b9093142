"""Probabilistic PCA, the closed-form baseline for Gaussian likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.estimate import PerDatum
from pyro_vaes.evaluate.inputs import as_tensor


@dataclass(frozen=True)
class PPCA(PerDatum):
    """The log-likelihood of probabilistic PCA, exact, in nats.

    Attributes:
        per_datum: log p(x), shape ``(N,)``.
    """

    per_datum: Tensor


def ppca(x_train: Tensor, x_test: Tensor, latent_dim: int) -> PPCA:
    """Exact test log-likelihood of probabilistic PCA fitted by maximum likelihood.

    p(z) = N(0, I) and p(x | z) = N(W z + m, σ² I), a VAE with a linear decoder; W and σ have a closed form.

    Args:
        x_train: training data, ``(N, *event_shape)``.
        x_test: test data, ``(M, *event_shape)``.
        latent_dim: number Z of factors.

    Raises:
        InputError: If there are not more dimensions and observations than factors, or no noise remains.

    References:
        Probabilistic Principal Component Analysis (Tipping, Bishop, 1999).

    Example:
        >>> import pyro_vaes as pv
        >>> data = pv.data.load("digits")
        >>> print(f"{ppca(data.train.x, data.test.x, latent_dim=16).mean:.1f}")
        26.8
    """
    from sklearn.decomposition import PCA

    x_train, x_test = as_tensor(x_train, "x_train"), as_tensor(x_test, "x_test")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"x_train holds data of shape {tuple(x_train.shape[1:])}, x_test of {tuple(x_test.shape[1:])}: give one"
        )
    train, test = (x.flatten(1).double().cpu().numpy() for x in (x_train, x_test))
    if not 0 < latent_dim < min(train.shape):
        raise InputError(
            f"{latent_dim} factors of {train.shape[0]} observations of {train.shape[1]} dimensions: "
            f"expected at least 1 and fewer than {min(train.shape)}"
        )
    fitted = PCA(latent_dim, svd_solver="full").fit(train)
    if fitted.noise_variance_ <= 1e-12 * fitted.explained_variance_.max():
        raise InputError(f"{latent_dim} factors explain the data exactly, which gives no density: take fewer")
    return PPCA(torch.as_tensor(fitted.score_samples(test)))
