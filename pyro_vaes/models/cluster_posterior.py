"""A cluster y and a code z of it: p(y) p(z | y) in the model, q(y | x) q(z | x, y) in the guide."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.distributions.labeled_categorical import LabeledCategorical
from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.models.conditional_normal import normal
from pyro_vaes.networks.copy_weights import copy_rows
from pyro_vaes.networks.positive import positive
from pyro_vaes.priors import GaussianMixture

EMPTY = 10.0  # nats by which a cluster without data lies below the others


def cluster_site(site: str) -> str:
    """Name of the cluster's site of a latent's.

    Example:
        >>> cluster_site("z"), cluster_site("z2")
        ('y', 'y2')
    """
    return site.replace("z", "y")


def draw_clustered(prior: GaussianMixture, site: str) -> Tensor:
    """Sample a cluster and, of it, the latent ``site`` from a mixture prior; returns the latent."""
    y = pyro.sample(cluster_site(site), dist.Categorical(logits=prior.logits))
    return pyro.sample(site, prior.components(y))


class ClusterParameters(NamedTuple):
    """The parameters of q(y | x) q(z | x, y), with y summed out wherever it can be.

    Shapes:
        ``logits (..., B, K)``, ``outputs (..., B, K, 2 Z)``: mean and raw scale of z for each y.

    Example:
        >>> parameters = ClusterParameters(torch.zeros(4, 3), torch.zeros(4, 3, 2 * 5))
        >>> parameters.clusters().probs.shape, parameters.marginal().event_shape
        (torch.Size([4, 3]), torch.Size([5]))
    """

    logits: Tensor
    outputs: Tensor

    def clusters(self) -> dist.TorchDistribution:
        """q(y | x), batch shape ``(..., B)``."""
        return dist.Categorical(logits=self.logits)

    def marginal(self) -> NormalMixture:
        """q(z | x) = Σ_y q(y | x) q(z | x, y), batch shape ``(..., B)``."""
        locs, raw_scales = self.outputs.chunk(2, -1)
        return NormalMixture(self.logits, locs, positive(raw_scales))

    def draw(self, site: str, labels: Tensor | None = None) -> Tensor:
        """Sample the cluster, which losses sum out, and the latent ``site``; returns the latent.

        Args:
            site: the latent's.
            labels: the clusters ``(B,)`` of labeled data, -1 for the others; q(y | x) is then a point mass there.
        """
        clusters = self.clusters() if labels is None else LabeledCategorical(self.logits, labels)
        y = pyro.sample(cluster_site(site), clusters, infer={"enumerate": "parallel"})
        codes = self.outputs[(None,) * (y.dim() + 2 - self.outputs.dim())]  # all values of y lie left of the plates
        return pyro.sample(site, normal(codes.take_along_dim(y[..., None, None], -2).squeeze(-2)))


class ClusterPosterior(nn.Module):
    """The head of a posterior q(y | h) q(z | h, y) on an encoder's features h.

    A layer of features and one-hot y, of as many units as there are features, and a linear head on it give mean and
    scale of q(z | h, y).

    Args:
        features: number of the encoder's features.
        components: number K of clusters.
        latent_dim: size Z of the code.
        cluster_features: number of the features of q(y | h), if these are others.

    Shapes:
        ``h (..., features)`` to :class:`ClusterParameters` of batch shape ``(...)``.

    Example:
        >>> posterior = ClusterPosterior(features=16, components=3, latent_dim=2)
        >>> posterior(torch.zeros(4, 16)).marginal().locs.shape
        torch.Size([4, 3, 2])
    """

    def __init__(self, features: int, components: int, latent_dim: int, cluster_features: int | None = None) -> None:
        super().__init__()
        self.logits = nn.Linear(cluster_features or features, components)
        self.hidden = nn.Linear(features, features)
        self.shift = nn.Embedding(components, features)  # the columns for one-hot y of the layer's weights
        self.head = nn.Linear(features, 2 * latent_dim)

    def forward(self, features: Tensor, cluster_features: Tensor | None = None) -> ClusterParameters:
        """The parameters of q(y | h) q(z | h, y), where q(y | h) may be given features of its own."""
        hidden = F.relu(self.hidden(features).unsqueeze(-2) + self.shift.weight)
        return ClusterParameters(
            self.logits(features if cluster_features is None else cluster_features), self.head(hidden)
        )

    @torch.no_grad()
    def start_from(self, head: nn.Linear) -> None:
        """Set q(z | h, y) to N(μ, diag σ²) from the outputs of a linear layer on h ≥ 0, the same for every y."""
        copy_rows(head, self.head)
        nn.init.eye_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.shift.weight)

    @torch.no_grad()
    def fit(self, features: Tensor, clusters: Tensor) -> None:
        """Set q(y | h) to given clusters by logistic regression, and q(z | h, y) to its average over y.

        Args:
            features: those of q(y | h), ``(N, features)``.
            clusters: cluster of each, ``(N,)``.
        """
        from sklearn.linear_model import LogisticRegression

        usage = self.logits(features).softmax(-1).mean(0)
        self.shift.weight.copy_((usage @ self.shift.weight).expand_as(self.shift.weight))
        known = np.unique(clusters)
        if len(known) < 2:
            return
        scale = features.std(0).clamp_min(1e-3).double().cpu()
        inputs = (features.double().cpu() / scale).numpy()
        fitted = LogisticRegression(max_iter=1000, tol=1e-2).fit(inputs, clusters.numpy())
        weight, bias = torch.from_numpy(fitted.coef_) / scale, torch.from_numpy(fitted.intercept_)
        if len(known) == 2:  # scikit-learn gives the difference of the two logits alone
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        self.logits.weight.zero_()
        self.logits.bias.fill_(float(bias.min()) - EMPTY)
        self.logits.weight[known] = weight.to(self.logits.weight)
        self.logits.bias[known] = bias.to(self.logits.bias)
