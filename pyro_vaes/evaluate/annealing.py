"""Annealed importance sampling: log-likelihoods that need no guide, and bounds from both sides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.estimate import PerDatum, log_mean_exp
from pyro_vaes.evaluate.hmc import HMC, Model, Target, adapted, checked_sites
from pyro_vaes.evaluate.inputs import as_input
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.param_store import isolated
from pyro_vaes.traces import sample_sites
from pyro_vaes.validation import checked_sizes

FIRST_STEP_SIZE = 0.1
SLOPE = 4.0  # of the sigmoid schedule: the temperatures crowd at both ends


@dataclass(frozen=True)
class AnnealedLikelihood(PerDatum):
    """An annealed estimate of log p(x), in nats, from S chains per datum.

    Attributes:
        per_datum: log (1/S) Σ w, a stochastic lower bound of log p(x), shape ``(N,)``.
        log_weights: log w of each chain, shape ``(S, N)``.
        acceptance: mean acceptance rate of the HMC transitions, shape ``(N,)``.
        num_steps: number of temperatures.
    """

    per_datum: Tensor
    log_weights: Tensor
    acceptance: Tensor
    num_steps: int

    def describe(self) -> str:
        """Estimator, number of chains, temperatures and data in words."""
        chains, data = self.log_weights.shape
        return f"annealed importance sampling, {chains} chains of {self.num_steps} temperatures each of {data} data"


@dataclass(frozen=True)
class Sandwich:
    """Bounds of log p(x), in nats, on data drawn from the model.

    Attributes:
        x: the data, ``(N, *event_shape)``.
        lower: stochastic lower bounds, by annealing from the prior, shape ``(N,)``.
        upper: stochastic upper bounds, by annealing back from the exact posterior draws, shape ``(N,)``.
    """

    x: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> float:
        """Mean of upper - lower, by how much, at most, the lower bound falls short on average."""
        return (self.upper - self.lower).mean().item()


def annealed_importance_sampling(
    model: Model,
    x: Tensor,
    num_chains: int = 16,
    num_steps: int = 500,
    leapfrog_steps: int = 10,
    progress: bool = False,
) -> AnnealedLikelihood:
    """Log p(x) by annealed importance sampling with HMC transitions, all chains of many data in one batch.

    A chain starts at z ~ p(z) and moves through the temperatures 0 = β₀ < … < β_K = 1 of a sigmoid schedule, by one
    HMC transition that leaves p(z) p(x | z)^βₖ invariant at each::

        log w = Σₖ (βₖ - βₖ₋₁) log p(x | zₖ₋₁),      E[w] = p(x)

    Step sizes are adapted, one per datum and temperature, by a preliminary run of a quarter as many chains, whose
    draws are then dropped. In the chains that count they are fixed, so that E[w] = p(x) holds exactly, and
    log (1/S) Σ w is a lower bound of log p(x) in expectation. Memory is bounded: few data at a time.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and take one more dimension of draws to
            the left of it; its latents, one or several, are continuous and without bounds.
        x: the data, ``(N, *event_shape)``.
        num_chains: number S of chains per datum.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition, one gradient of log p(x, z) each.
        progress: whether to show a bar.

    Raises:
        InputError: If latents are discrete or bounded, sites lie outside the plate, sizes are below 1, or the
            likelihood refuses the data.

    References:
        Annealed Importance Sampling (Neal, 2001);
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu, Burda, Salakhutdinov, Grosse, 2017).

    Example:
        >>> estimate = annealed_importance_sampling(vae, x, num_chains=4, num_steps=20)
        >>> estimate.per_datum.shape, estimate.log_weights.shape
        (torch.Size([4]), torch.Size([4, 4]))
    """
    batches = _batches(model, x, num_chains, num_steps, leapfrog_steps)
    log_weights, acceptance = [], []
    with isolated(), tqdm(total=2 * num_steps * len(batches), desc="annealing", disable=not progress) as bar:
        for batch in batches:
            target = Target(model, batch, leapfrog_steps, bar.update)
            schedule = adapt_schedule(target, num_chains, num_steps)
            weights, rate = anneal(target, target.prior_draws(num_chains), schedule)
            log_weights.append(weights.cpu())
            acceptance.append(rate.cpu())
    weights = torch.cat(log_weights, 1)
    return AnnealedLikelihood(log_mean_exp(weights), weights, torch.cat(acceptance), num_steps)


def bidirectional_monte_carlo(
    model: Model,
    x: Tensor,
    num_chains: int = 16,
    num_steps: int = 500,
    leapfrog_steps: int = 10,
    progress: bool = False,
) -> Sandwich:
    """Bounds of log p(x) from both sides on data that the model itself draws, by annealing in both directions.

    (z, x) ~ p(z) p(x | z) makes z an exact draw from p(z | x). Chains from the prior up to the posterior bound
    log p(x) from below, see :func:`annealed_importance_sampling`; chains from z down to the prior, through the same
    transitions in reverse, bound it from above, since E[1 / w] = 1 / p(x): log p(x) ≤ E[-log (1/S) Σ 1 / w].

    Args:
        model: as for :func:`annealed_importance_sampling`.
        x: data that say how many to draw and of what shape; their values do not count.
        num_chains: number S of chains per datum and direction.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition.
        progress: whether to show a bar.

    Raises:
        InputError: If :func:`annealed_importance_sampling` would refuse the model or x, or the model has not exactly
            one observation.

    References:
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo (Grosse, Ghahramani, Adams, 2015);
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu, Burda, Salakhutdinov, Grosse, 2017).

    Example:
        >>> bounds = bidirectional_monte_carlo(vae, x, num_chains=4, num_steps=20)
        >>> bounds.x.shape, bounds.lower.shape, bounds.upper.shape
        (torch.Size([4, 1, 8, 8]), torch.Size([4]), torch.Size([4]))
    """
    batches = _batches(model, x, num_chains, num_steps, leapfrog_steps)
    drawn, lower, upper = [], [], []
    with isolated(), tqdm(total=3 * num_steps * len(batches), desc="annealing", disable=not progress) as bar:
        for batch in batches:
            simulated, values = _simulate(model, batch)
            target = Target(model, simulated, leapfrog_steps, bar.update)
            schedule = adapt_schedule(target, num_chains, num_steps)
            start = target.flat({name: value.expand(num_chains, *value.shape) for name, value in values.items()})
            up, _ = anneal(target, target.prior_draws(num_chains), schedule)
            down, _ = anneal(target, start, schedule, reverse=True)
            drawn.append(simulated.cpu())
            lower.append(log_mean_exp(up).cpu())
            upper.append(-log_mean_exp(-down).cpu())
    return Sandwich(torch.cat(drawn), torch.cat(lower), torch.cat(upper))


class Temperature(NamedTuple):
    """One temperature."""

    beta: float
    increment: float  # over the temperature before
    step_size: Tensor  # (B,)


def adapt_schedule(target: HMC, num_chains: int, num_steps: int) -> list[Temperature]:
    """The temperatures, with step sizes adapted by chains of their own."""
    betas = _schedule(num_steps)
    state = target(target.prior_draws(math.ceil(num_chains / 4)))
    log_step = torch.full_like(state.log_prior[0], math.log(FIRST_STEP_SIZE))
    schedule = []
    for before, beta in itertools.pairwise(betas):
        state, acceptance = target.transition(state, beta, log_step.exp())
        log_step = adapted(log_step, acceptance)
        schedule.append(Temperature(beta, beta - before, log_step.exp()))
    return schedule


def anneal(target: HMC, z: Tensor, schedule: Sequence[Temperature], reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Log w of chains from z, ``(S, B)`` in float64, and their mean acceptance rate, ``(B,)``.

    A chain in reverse starts at the last temperature and undoes what one from the prior does, in its order.
    """
    state = target(z)
    log_weights = torch.zeros_like(state.log_prior, dtype=torch.float64)
    accepted = torch.zeros_like(state.log_prior[0])
    for temperature in reversed(schedule) if reverse else schedule:
        before = state
        state, acceptance = target.transition(state, temperature.beta, temperature.step_size)
        log_weights += temperature.increment * (state if reverse else before).log_likelihood
        accepted += acceptance.mean(0)
    return log_weights, accepted / len(schedule)


def _batches(model: Model, x: Tensor, num_chains: int, num_steps: int, leapfrog_steps: int) -> Sequence[Tensor]:
    """The data, as many at a time as fit with their chains; refuses what cannot be annealed."""
    checked_sizes(num_chains=(num_chains,), num_steps=(num_steps,), leapfrog_steps=(leapfrog_steps,))
    x = as_input(model, x)
    with isolated():
        checked_sites(model, x[:2])
    return x.split(max(1, CHUNK_VALUES // (x[0].numel() * num_chains)))


@torch.no_grad()
def _simulate(model: Model, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Data of the shape of x drawn from the model, and the latents that they were drawn with."""
    sites = sample_sites(poutine.trace(poutine.uncondition(model)).get_trace(x))
    observed = [name for name, site in sites.items() if site["infer"].get("was_observed")]
    if len(observed) != 1 or (simulated := sites.pop(observed[0])["value"]).shape != x.shape:
        raise InputError(
            f"the model observes {sorted(observed)}, given x of shape {tuple(x.shape)}: to draw data from it, expected "
            "one observed site of just that shape"
        )
    return simulated, {name: site["value"] for name, site in sites.items()}


def _schedule(num_steps: int) -> list[float]:
    """0 = β₀ < … < β_K = 1, evenly spaced on a sigmoid."""
    values = torch.linspace(-SLOPE, SLOPE, num_steps + 1, dtype=torch.float64).sigmoid()
    return ((values - values[0]) / (values[-1] - values[0])).tolist()
