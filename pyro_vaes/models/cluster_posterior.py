"""A cluster y and a code z of it: p(y) p(z | y) in the model, q(y | x) q(z | x, y) in the guide."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.models.conditional_normal import normal
from pyro_vaes.priors import GaussianMixture


def draw_clustered(prior: GaussianMixture, level: str = "") -> Tensor:
    """Sample the sites ``y`` and ``z`` of a mixture prior, with the level's number in their names; gives z."""
    y = pyro.sample(f"y{level}", dist.Categorical(logits=prior.logits))
    return pyro.sample(f"z{level}", dist.Normal(prior.locs[y], prior.log_scales[y].exp()).to_event(1))


class ClusterPosterior(nn.Module):
    """The posterior q(y | h) q(z | h, y) on an encoder's features h, with y summed out wherever it can be.

    A layer of features and one-hot y, of as many units as there are features, and a linear head on it give mean and
    scale of q(z | h, y).

    Args:
        features: number of the encoder's features.
        components: number K of clusters.
        latent_dim: size Z of the code.

    Shapes:
        h ``(..., features)``; q(y | h) over K clusters and q(z | h) over ``(Z,)``, of batch shape ``(...)``.

    Example:
        >>> posterior = ClusterPosterior(features=16, components=3, latent_dim=2)
        >>> posterior.marginal(torch.zeros(4, 16)).locs.shape
        torch.Size([4, 3, 2])
    """

    def __init__(self, features: int, components: int, latent_dim: int) -> None:
        super().__init__()
        self.logits = nn.Linear(features, components)
        self.hidden = nn.Linear(features, features)
        self.shift = nn.Embedding(components, features)  # the columns for one-hot y of the layer's weights
        self.head = nn.Linear(features, 2 * latent_dim)

    def clusters(self, features: Tensor) -> dist.TorchDistribution:
        """q(y | h), batch shape ``(..., B)``."""
        return dist.Categorical(logits=self.logits(features))

    def codes(self, features: Tensor, y: Tensor) -> dist.TorchDistribution:
        """q(z | h, y); y broadcasts against the batch shape of h."""
        return normal(self.head(F.relu(self.hidden(features) + self.shift(y))))

    def marginal(self, features: Tensor) -> NormalMixture:
        """q(z | h) = Σ_y q(y | h) q(z | h, y), batch shape ``(..., B)``."""
        every = torch.arange(self.shift.num_embeddings, device=features.device)
        codes = self.codes(features.unsqueeze(-2), every)
        return NormalMixture(self.logits(features), codes.mean, codes.variance.sqrt())

    def draw(self, features: Tensor, level: str = "") -> Tensor:
        """Sample the sites ``y``, which losses sum out, and ``z``, with the level's number in their names; gives z."""
        y = pyro.sample(f"y{level}", self.clusters(features), infer={"enumerate": "parallel"})
        return pyro.sample(f"z{level}", self.codes(features, y))
