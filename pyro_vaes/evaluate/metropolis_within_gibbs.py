"""Metropolis within Gibbs: chains over latents and missing values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vaes.evaluate.chains import effective_samples, r_hat
from pyro_vaes.evaluate.marginal.guide import GuideDensity
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.given import in_turn
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.missing import missing_values
from pyro_vaes.vae import LatentVariableModel


class Chains(NamedTuple):
    """The ends of K chains for each of B observations, and their diagnostics.

    Attributes:
        completed: x with the last draw of its missing values, shape ``(K, B, *event_shape)``.
        mean: mean of E[x | z] over all chains, after their first halves, shape ``(B, *event_shape)``.
        acceptance: share of accepted proposals, shape ``(B,)``.
        effective_samples: the smallest effective sample size of a latent, shape ``(B,)``.
        r_hat: the largest R-hat of a latent, shape ``(B,)``.
    """

    completed: Tensor
    mean: Tensor
    acceptance: Tensor
    effective_samples: Tensor
    r_hat: Tensor


def metropolis_within_gibbs(
    model: LatentVariableModel,
    guide: Callable[..., Any],
    x: Tensor,
    num_chains: int,
    num_steps: int,
    on_step: Callable[[], Any] = lambda: None,
) -> Chains:
    """Chains whose stationary distribution is p(z, x_missing | x_seen), with the guide as the proposal of z.

    One step, with x the present completion::

        z' ~ q(z | x),      accepted with the probability min(1, p(x, z') q(z | x) / (p(x, z) q(z' | x)))
        x_missing ~ p(x_missing | z)

    Without the acceptance step it is the pseudo-Gibbs sampler, which is exact only where q is p(z | x). The guide is
    asked about completed data alone but for the start, so that it need not know of missing values.

    Args:
        model: the model.
        guide: its guide.
        x: the data, with NaN for missing values, ``(B, *event_shape)``.
        num_chains: number K of chains per observation.
        num_steps: number of steps, the first half of which is the warm-up.
        on_step: called after each step.

    References:
        Leveraging the Exact Likelihood of Deep Latent Variable Models (Mattei, Frellsen, 2018).
    """
    chains = x.repeat(num_chains, *[1] * (x.dim() - 1))
    model, guide = in_turn(model, len(chains)), in_turn(guide, len(chains))
    target = ModelTarget(model, chains)
    z = GuideDensity(guide, target).sample(1)
    target.x = completed(model.likelihood, model.features(*target.latents(z[0])), chains)
    accepted, kept, total = z.new_zeros(len(chains)), [], torch.zeros_like(chains)
    with missing_values(False):
        for step in range(num_steps):
            q = GuideDensity(guide, target)
            proposed = q.sample(1)
            log_ratio = (target.log_joint(proposed) - q.log_prob(proposed)) - (target.log_joint(z) - q.log_prob(z))
            moved = torch.rand_like(log_ratio).log() < log_ratio  # never where it is not a number
            z = torch.where(moved.unsqueeze(-1), proposed, z)
            accepted += moved[0]
            features = model.features(*target.latents(z[0]))
            target.x = completed(model.likelihood, features, chains)
            if step >= num_steps // 2:
                kept.append(z[0])
                total += model.likelihood.mean(model.likelihood.offset(features, chains))
            on_step()
    shape = (num_chains, len(x))
    draws = torch.stack(kept, 1).unflatten(0, shape).cpu()  # (K, B, T, Z)
    each = draws.unbind(1)
    return Chains(
        completed=target.x.unflatten(0, shape),
        mean=total.unflatten(0, shape).mean(0) / len(kept),
        acceptance=accepted.unflatten(0, shape).mean(0) / num_steps,
        effective_samples=torch.stack([effective_samples(one).amin() for one in each]),
        r_hat=torch.stack([r_hat(one).amax() for one in each]),
    )


def completed(likelihood: Likelihood, features: Tensor, x: Tensor) -> Tensor:
    """X with a draw from p(x | features) for missing values.

    Args:
        likelihood: the likelihood.
        features: its features, ``(..., B, *features_shape)``.
        x: the data, with NaN for missing values, ``(B, *event_shape)``.

    Example:
        >>> with missing_values():
        ...     completed(vae.likelihood, vae.features(torch.zeros(3, 4, 2)), torch.full_like(x, torch.nan)).shape
        torch.Size([3, 4, 1, 8, 8])
    """
    return torch.where(x.isnan(), likelihood.observation(features, x).sample(), x)
