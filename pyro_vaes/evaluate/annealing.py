"""Annealed importance sampling: log-likelihoods without a guide, and two-sided bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.estimate import PerDatum, log_mean_exp
from pyro_vaes.evaluate.hmc import HMC, Model, Target, adapted, checked_sites
from pyro_vaes.evaluate.inputs import as_inputs, check_simulated, evaluating
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.overflow import without_overflow
from pyro_vaes.given import split
from pyro_vaes.traces import sample_sites
from pyro_vaes.validation import checked_sizes

FIRST_STEP_SIZE = 0.1
SLOPE = 4.0  # of the sigmoid schedule, whose temperatures are denser at both ends


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
        """Description of the estimator: numbers of chains, temperatures and observations."""
        chains, size = self.log_weights.shape
        return (
            f"annealed importance sampling, {chains} chains of {self.num_steps} temperatures for each of {size} "
            "observations"
        )


@dataclass(frozen=True)
class Sandwich:
    """Bounds of log p(x), in nats, on data drawn from the model.

    Attributes:
        x: the data, ``(N, *event_shape)``.
        lower: stochastic lower bounds, by annealing from the prior, shape ``(N,)``.
        upper: stochastic upper bounds, by reverse annealing from exact posterior draws, shape ``(N,)``.
    """

    x: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> float:
        """Mean of upper - lower, an upper bound of the lower bound's mean error."""
        return (self.upper - self.lower).mean().item()


def annealed_importance_sampling(
    model: Model,
    x: Tensor,
    num_chains: int = 16,
    num_steps: int = 500,
    leapfrog_steps: int = 10,
    progress: bool = False,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> AnnealedLikelihood:
    """log p(x) by annealed importance sampling with HMC transitions, vectorized over chains and data.

    A chain starts at z ~ p(z) and passes through the temperatures 0 = β₀ < … < β_K = 1 of a sigmoid schedule, with
    one HMC transition at each that leaves p(z) p(x | z)^βₖ invariant::

        log w = Σₖ (βₖ - βₖ₋₁) log p(x | zₖ₋₁),      E[w] = p(x)

    Step sizes are adapted, one per datum and temperature, in a preliminary run of a quarter as many chains, whose
    draws are discarded. In the main run they are fixed, so that E[w] = p(x) holds exactly, and log (1/S) Σ w is a
    lower bound of log p(x) in expectation. Data are processed in batches, which bounds the memory.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and accept a further dimension of draws
            on its left; its latents are continuous and unbounded.
        x: the data, ``(N, *event_shape)``.
        num_chains: number S of chains per datum.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition, one gradient of log p(x, z) each.
        progress: whether to show a progress bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the estimate is then log p(x_seen).

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
    x, model = as_inputs(x, y, model, mask=mask)
    batches = _batches(model, x, num_chains, num_steps, leapfrog_steps)
    log_weights, acceptance = [], []
    with (
        evaluating(model, x=x),
        tqdm(total=2 * num_steps * len(batches), desc="annealing", disable=not progress) as bar,
    ):
        for batch, view in batches:
            target = Target(view, batch, leapfrog_steps, bar.update)
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
    *,
    y: Tensor | None = None,
) -> Sandwich:
    """Two-sided bounds of log p(x) on data simulated from the model, by annealing in both directions.

    For (z, x) ~ p(z) p(x | z), z is an exact draw from p(z | x). Chains from the prior to the posterior give a lower
    bound of log p(x), see :func:`annealed_importance_sampling`; chains from z to the prior, through the same
    transitions in reverse, give an upper bound, since E[1 / w] = 1 / p(x): log p(x) ≤ E[-log (1/S) Σ 1 / w].

    Args:
        model: as for :func:`annealed_importance_sampling`.
        x: data that determine the number and shape of the simulated data; their values are not used.
        num_chains: number S of chains per datum and direction.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition.
        progress: whether to show a progress bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.

    Raises:
        InputError: If :func:`annealed_importance_sampling` would refuse the model or x, the model does not have
            exactly one observed site, or its likelihood has size factors.

    References:
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo (Grosse, Ghahramani, Adams, 2015);
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu, Burda, Salakhutdinov, Grosse, 2017).

    Example:
        >>> bounds = bidirectional_monte_carlo(vae, x, num_chains=4, num_steps=20)
        >>> bounds.x.shape, bounds.lower.shape, bounds.upper.shape
        (torch.Size([4, 1, 8, 8]), torch.Size([4]), torch.Size([4]))
    """
    check_simulated(model)
    x, model = as_inputs(x, y, model)
    batches = _batches(model, x, num_chains, num_steps, leapfrog_steps)
    drawn, lower, upper = [], [], []
    with evaluating(model), tqdm(total=3 * num_steps * len(batches), desc="annealing", disable=not progress) as bar:
        for batch, view in batches:
            simulated, values = _simulate(view, batch)
            target = Target(view, simulated, leapfrog_steps, bar.update)
            schedule = adapt_schedule(target, num_chains, num_steps)
            start = target.flat({name: value.expand(num_chains, *value.shape) for name, value in values.items()})
            up, _ = anneal(target, target.prior_draws(num_chains), schedule)
            down, _ = anneal(target, start, schedule, reverse=True)
            drawn.append(simulated.cpu())
            lower.append(log_mean_exp(up).cpu())
            upper.append(-log_mean_exp(-down).cpu())
    return Sandwich(torch.cat(drawn), torch.cat(lower), torch.cat(upper))


class Temperature(NamedTuple):
    """A temperature of the schedule, with its step sizes."""

    beta: float
    increment: float  # from the previous temperature
    step_size: Tensor  # (B,)


def adapt_schedule(target: HMC, num_chains: int, num_steps: int) -> list[Temperature]:
    """The temperatures, with step sizes adapted in a preliminary run."""
    betas = _schedule(num_steps)
    start, _ = without_overflow(target.prior_draws(math.ceil(num_chains / 4)))
    state = target(start)
    log_step = torch.full_like(state.log_prior[0], math.log(FIRST_STEP_SIZE))
    schedule = []
    for before, beta in itertools.pairwise(betas):
        state, acceptance = target.transition(state, beta, log_step.exp())
        log_step = adapted(log_step, acceptance)
        schedule.append(Temperature(beta, beta - before, log_step.exp()))
    return schedule


def anneal(target: HMC, z: Tensor, schedule: Sequence[Temperature], reverse: bool = False) -> tuple[Tensor, Tensor]:
    """log w of chains from z, ``(S, B)`` in float64, and their mean acceptance rate, ``(B,)``.

    A reverse chain starts at the last temperature and traverses the schedule in reverse. One that starts where a draw
    overflowed, as that of a flow may, has weight 0.
    """
    start, overflowed = without_overflow(z)
    state = target(start)
    log_weights = torch.zeros_like(state.log_prior, dtype=torch.float64)
    accepted = torch.zeros_like(state.log_prior[0])
    for temperature in reversed(schedule) if reverse else schedule:
        before = state
        state, acceptance = target.transition(state, temperature.beta, temperature.step_size)
        log_weights += temperature.increment * (state if reverse else before).log_likelihood
        accepted += acceptance.mean(0)
    return log_weights.masked_fill(overflowed, -math.inf), accepted / len(schedule)


def _batches(model: Model, x: Tensor, num_chains: int, num_steps: int, leapfrog_steps: int) -> list[tuple[Any, ...]]:
    """The data, validated and split into batches that fit into memory with their chains, each with its model."""
    checked_sizes(num_chains=(num_chains,), num_steps=(num_steps,), leapfrog_steps=(leapfrog_steps,))
    with evaluating(model, x=x):
        two, view = next(split(2, x, model))
        checked_sites(view, two)
    return list(split(max(1, CHUNK_VALUES // (x[0].numel() * num_chains)), x, model))


@torch.no_grad()
def _simulate(model: Model, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Data of the shape of x drawn from the model, and their latents."""
    sites = sample_sites(poutine.trace(poutine.uncondition(model)).get_trace(x))
    observed = [name for name, site in sites.items() if site["infer"].get("was_observed")]
    if len(observed) != 1 or (simulated := sites.pop(observed[0])["value"]).shape != x.shape:
        raise InputError(
            f"the model observes {sorted(observed)}, given x of shape {tuple(x.shape)}: to draw data from it, expected "
            "exactly one observed site, of that shape"
        )
    return simulated, {name: site["value"] for name, site in sites.items()}


def _schedule(num_steps: int) -> list[float]:
    """0 = β₀ < … < β_K = 1, evenly spaced on a sigmoid."""
    values = torch.linspace(-SLOPE, SLOPE, num_steps + 1, dtype=torch.float64).sigmoid()
    return ((values - values[0]) / (values[-1] - values[0])).tolist()
