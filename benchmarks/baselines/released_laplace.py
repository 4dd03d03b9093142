"""Arithmetic of the Laplace guide's released code.

Written anew from its description (Variational Laplace Autoencoders; Park, Kim, Kim; ICML 2019): explicit D x Z
Jacobians, an inverse of every precision, a Cholesky factor of the last inverse.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vaes import VAE
from pyro_vaes.guides import Laplace


def features_and_jacobian(layers: list[nn.Linear], z: Tensor) -> tuple[Tensor, Tensor]:
    """Value ``(B, D)`` and Jacobian ``(B, D, Z)`` of a ReLU network."""
    hidden, jacobian = z, torch.eye(z.shape[-1], device=z.device).expand(len(z), -1, -1)
    for layer in layers[:-1]:
        hidden = layer(hidden)
        jacobian = (layer.weight @ jacobian) * (hidden > 0).to(z.dtype).unsqueeze(-1)
        hidden = hidden.relu()
    return layers[-1](hidden), layers[-1].weight @ jacobian


def released_posterior(vae: VAE, guide: Laplace, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(B, Z)`` and precision ``(B, Z, Z)`` of q(z | x) by the released arithmetic."""
    layers = [layer for layer in vae.decoder if isinstance(layer, nn.Linear)]
    likelihood, flat = vae.likelihood, x.flatten(1)
    identity = torch.eye(vae.latent_dim, device=x.device)

    def linearized(mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, jacobian = features_and_jacobian(layers, mean)
        weighted = jacobian.mT * likelihood.fisher(features).unsqueeze(1)
        return features, jacobian, weighted @ jacobian + identity

    mean = guide.head(guide.encoder(x))[..., : vae.latent_dim]
    for t in range(guide.updates):
        features, jacobian, precision = linearized(mean)
        score = (jacobian.mT @ likelihood.score(features, flat).unsqueeze(-1)).squeeze(-1)
        newton = (torch.inverse(precision) @ (score - mean).unsqueeze(-1)).squeeze(-1)
        mean = mean + guide.step_size / (t + 1) * newton
    return mean, linearized(mean)[2]


def released_loss(vae: VAE, guide: Laplace, x: Tensor) -> Tensor:
    """Negative one-sample ELBO, summed over the batch, by the released arithmetic."""
    mean, precision = released_posterior(vae, guide, x)
    q = torch.distributions.MultivariateNormal(mean, scale_tril=torch.linalg.cholesky(torch.inverse(precision)))
    z = q.rsample()
    return -(vae.log_joint(x, z) - q.log_prob(z)).sum()
