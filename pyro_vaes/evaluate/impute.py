"""Imputation: draws of the missing values of x given those that were seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError, unknown
from pyro_vaes.evaluate.inputs import as_inputs, evaluating, seeded
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.marginal.adapt import adapt, evaluate
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.estimate import BLOCK_VALUES
from pyro_vaes.evaluate.marginal.modes import propose
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.evaluate.metropolis_within_gibbs import completed, metropolis_within_gibbs
from pyro_vaes.evaluate.psis import smoothed_weights, unreliable_share
from pyro_vaes.given import split
from pyro_vaes.traces import total
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_seed, check_whole

METHODS = {"importance": "importance resampling", "gibbs": "Metropolis within Gibbs"}
TOLERANCE = 0.05  # standard error of log p(x_seen), in nats, up to which the proposals are adapted
FEWEST_DRAWS = 100


@dataclass(frozen=True)
class Imputation:
    """Draws from p(x_missing | x_seen) and their mean, with diagnostics.

    Attributes:
        method: ``"importance"`` or ``"gibbs"``.
        draws: completed data: x where it was seen, draws elsewhere, shape ``(S, N, *event_shape)``.
        mean: x where it was seen, E[x_missing | x_seen] elsewhere, shape ``(N, *event_shape)``; the mean of E[x | z]
            over all draws of z, which has less noise than that of ``draws``.
        pareto_k: k-hat of the importance weights, shape ``(N,)``; above 0.7 the draws cannot be trusted. NaN for
            Metropolis within Gibbs.
        effective_samples: number of effective draws of z behind each datum's imputation, shape ``(N,)``.
        acceptance: share of accepted proposals of Metropolis within Gibbs, shape ``(N,)``; else NaN.
        r_hat: largest R-hat of a latent of Metropolis within Gibbs, shape ``(N,)``, below 1.01 where the chains agree;
            else NaN.
    """

    method: str
    draws: Tensor
    mean: Tensor
    pareto_k: Tensor
    effective_samples: Tensor
    acceptance: Tensor
    r_hat: Tensor

    @property
    def unreliable(self) -> float:
        """Share of the data whose draws cannot be trusted, k-hat above 0.7, or R-hat not below 1.01."""
        if self.method == "importance":
            return unreliable_share(self.pareto_k)
        return (~(self.r_hat < 1.01)).double().mean().item()

    def describe(self) -> str:
        """Method and number of draws in words."""
        return f"{len(self.draws)} imputations of {len(self.mean)} data by {METHODS[self.method]}"


@torch.no_grad()
def impute(
    model: LatentVariableModel,
    guide: Callable[..., Any] | None,
    x: Tensor,
    mask: Tensor | None = None,
    num_samples: int = 20,
    *,
    y: Tensor | None = None,
    method: str = "importance",
    num_draws: int = 1000,
    num_steps: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Imputation:
    """Draw the missing values of x from p(x_missing | x_seen), under any model of independent pixels.

    - ``"importance"``: draws of z from the proposals of ``marginal_log_likelihood``, adapted to the p(z | x_seen) of
      each datum, are resampled by their Pareto-smoothed weights p(x_seen, z) / q(z); then x_missing ~ p(x | z). The
      quality of the guide does not matter, and it may be None.
    - ``"gibbs"``: the ends of ``num_samples`` chains of Metropolis within Gibbs, whose proposals are the guide's
      posteriors of the completed data. It needs a good guide, but no mode of p(z | x_seen); it suits latents that are
      too many for importance weights.

    Args:
        model: one of the library's models.
        guide: its guide.
        x: the data, ``(N, *event_shape)``; what is hidden may have any value.
        mask: True where x was seen, of its shape; None where NaN marks what is missing, see
            :func:`~pyro_vaes.missing_values`, and of a masked NumPy array.
        num_samples: number S of imputations of each datum.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        method: ``"importance"`` or ``"gibbs"``.
        num_draws: number of draws of z per datum, of which those of importance resampling are chosen.
        num_steps: number of steps of a chain, the first half of which is its warm-up.
        seed: seed of all draws; torch's global random state is left as it was.
        progress: whether to show a progress bar.

    Raises:
        InputError: If the model is none of the library's, its likelihood gives no density of a part of x, the mask does
            not fit x or hides all of a datum, an argument is out of range, or chains have no guide.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei, Frellsen, 2019), for importance
        resampling;
        Leveraging the Exact Likelihood of Deep Latent Variable Models (Mattei, Frellsen, 2018), for the chains.

    Example:
        >>> mask = torch.rand(x.shape) < 0.5
        >>> imputation = impute(vae, guide, x, mask, num_samples=5)
        >>> imputation.draws.shape, bool((imputation.draws == x)[:, mask].all()), imputation.unreliable
        (torch.Size([5, 4, 1, 8, 8]), True, 0.0)
    """
    if method not in METHODS:
        raise unknown("method of imputation", str(method), METHODS)
    if not isinstance(model, LatentVariableModel):
        raise InputError(f"the model is a {type(model).__name__}: give one of the library's, whose p(x | z) is known")
    if method == "gibbs" and guide is None:
        raise InputError('method is "gibbs", whose proposals are those of a guide: give one, or method="importance"')
    check_whole("num_samples", num_samples)
    check_whole("num_draws", num_draws, FEWEST_DRAWS)
    check_whole("num_steps", num_steps, 8)
    check_seed(seed)
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    width, steps = (sum(model.latent_dims), 1) if method == "importance" else (x[0].numel(), num_steps)
    count = num_draws if method == "importance" else num_samples
    batches = list(split(max(1, BLOCK_VALUES // (count * width)), x, model, guide))
    bar = tqdm(total=steps * len(batches), desc="imputation", disable=not progress)
    with evaluating(model, guide, x=x), seeded(seed, x.device), bar:
        parts = []
        for each, view, proposal in batches:
            if method == "importance":
                parts.append(_resampled(view, proposal, each, num_samples, num_draws))
                bar.update()
            else:
                parts.append(_chains(view, proposal, each, num_samples, num_steps, bar.update))
    draws, *others = (list(each) for each in zip(*parts, strict=True))
    return Imputation(method, torch.cat(draws, 1), *(torch.cat(each) for each in others))


def _resampled(
    model: LatentVariableModel, guide: Callable[..., Any] | None, x: Tensor, num_samples: int, num_draws: int
) -> tuple[Tensor, ...]:
    """The fields of `Imputation` by importance resampling."""
    target, likelihood = ModelTarget(model, x), model.likelihood
    sampler = Sampler(target, guide)
    mixture = adapt(sampler, propose(sampler), num_draws, TOLERANCE).mixture
    drawn = sampler.draw(mixture, num_draws)
    estimate = evaluate(mixture, drawn)
    log_weights = drawn.log_joint - drawn.log_proposal(mixture.log_prob(drawn.z))
    weights, z = smoothed_weights(log_weights)[0].exp().to(x), drawn.z.to(x)
    few = max(1, CHUNK_VALUES // x.numel())
    features = (model.features(*target.latents(part)) for part in z.split(few))
    means = (likelihood.mean(likelihood.offset(each, x)) for each in features)
    mean = total(torch.einsum("sb,sb...->b...", *pair) for pair in zip(weights.split(few), means, strict=True))
    chosen = weights.T.multinomial(num_samples, replacement=True).T.unsqueeze(-1)
    draws = completed(likelihood, model.features(*target.latents(z.take_along_dim(chosen, 0))), x)
    none = torch.full_like(estimate.log_p, torch.nan)
    fields = (draws, torch.where(x.isnan(), mean, x), estimate.pareto_k, estimate.effective_samples, none, none)
    return tuple(each.cpu() for each in fields)


def _chains(
    model: LatentVariableModel, guide: Any, x: Tensor, num_samples: int, num_steps: int, on_step: Callable[[], Any]
) -> tuple[Tensor, ...]:
    """The fields of `Imputation` by Metropolis within Gibbs."""
    chains = metropolis_within_gibbs(model, guide, x, num_samples, num_steps, on_step)
    mean, none = torch.where(x.isnan(), chains.mean, x), torch.full_like(chains.acceptance, torch.nan)
    fields = (chains.completed, mean, none, chains.effective_samples, chains.acceptance, chains.r_hat)
    return tuple(each.cpu() for each in fields)
