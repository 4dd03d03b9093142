"""Annealed importance sampling: log-likelihoods that need no guide, and bounds from both sides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.estimate import PerDatum, log_mean_exp
from pyro_vaes.evaluate.inputs import as_input
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.param_store import isolated
from pyro_vaes.traces import sample_sites, total
from pyro_vaes.validation import checked_sizes

Model = Callable[..., Any]


ACCEPTANCE = 0.65  # rate that the step sizes are adapted to, near the best for HMC


GAIN = 0.2  # of the adaptation, in units of the logarithm of the step size


FIRST_STEP_SIZE = 0.1


JITTER = 0.2  # relative; trajectories of one fixed length can close on themselves and never mix


SLOPE = 4.0  # of the sigmoid schedule: the temperatures crowd at both ends


PROBE = 1e3  # a value that bounded supports do not hold


@dataclass(frozen=True)
class AnnealedLikelihood(PerDatum):
    """An annealed estimate of log p(x), in nats, from S chains a datum.

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

    Step sizes are adapted, one a datum and temperature, by a preliminary run of a quarter as many chains, whose draws
    are then dropped. In the chains that count they are fixed, so that E[w] = p(x) holds exactly, and log (1/S) Σ w is
    a lower bound of log p(x) in expectation. Memory is bounded: few data at a time.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and take one more dimension of draws to
            the left of it; its latents, one or several, are continuous and without bounds.
        x: the data, ``(N, *event_shape)``.
        num_chains: number S of chains a datum.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition, a gradient of log p(x, z) each.
        progress: whether to show a bar.

    Raises:
        InputError: for discrete or bounded latents, sites outside the plate, sizes below 1, or data that the
            likelihood refuses.

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
            target = _Target(model, batch, leapfrog_steps, bar.update)
            schedule = target.schedule(num_chains, num_steps)
            weights, rate = target.anneal(target.prior_draws(num_chains), schedule)
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
        num_chains: number S of chains a datum and direction.
        num_steps: number K of temperatures after 0.
        leapfrog_steps: leapfrog steps of one transition.
        progress: whether to show a bar.

    Raises:
        InputError: as for :func:`annealed_importance_sampling`, and for a model without exactly one observation.

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
            target = _Target(model, simulated, leapfrog_steps, bar.update)
            schedule = target.schedule(num_chains, num_steps)
            start = target.flat({name: value.expand(num_chains, *value.shape) for name, value in values.items()})
            up, _ = target.anneal(target.prior_draws(num_chains), schedule)
            down, _ = target.anneal(start, schedule, reverse=True)
            drawn.append(simulated.cpu())
            lower.append(log_mean_exp(up).cpu())
            upper.append(-log_mean_exp(-down).cpu())
    return Sandwich(torch.cat(drawn), torch.cat(lower), torch.cat(upper))


class _State(NamedTuple):
    """Latents and what HMC asks of them; all but the densities end in the latents' dimension."""

    z: Tensor  # (S, B, D)
    log_prior: Tensor  # log p(z), (S, B)
    log_likelihood: Tensor  # log p(x | z), (S, B)
    prior_score: Tensor  # ∇ log p(z), (S, B, D)
    likelihood_score: Tensor  # ∇ log p(x | z), (S, B, D)

    def log_density(self, beta: float) -> Tensor:
        """Log p(z) p(x | z)^β."""
        return self.log_prior + beta * self.log_likelihood

    def score(self, beta: float) -> Tensor:
        """Its gradient; both parts are kept, so that a new temperature costs no new gradient."""
        return self.prior_score + beta * self.likelihood_score


class _Temperature(NamedTuple):
    """One temperature."""

    beta: float
    increment: float  # over the temperature before
    step_size: Tensor  # (B,)


class _Target:
    """The densities p(z) p(x | z)^β of one batch, with the latents of all sites in one vector, and their chains."""

    def __init__(self, model: Model, x: Tensor, leapfrog_steps: int, tick: Callable[[], Any]) -> None:
        self.model, self.x = model, x
        self.leapfrog_steps, self.tick = leapfrog_steps, tick
        sites = _checked_sites(model, x)
        self.shapes = {name: site["fn"].event_shape for name, site in sites.items() if not site["is_observed"]}

    def __call__(self, z: Tensor) -> _State:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            sites = _sites(poutine.condition(self.model, data=self._values(z)), self.x, len(z))
            log_prior = total(site["log_prob"] for name, site in sites.items() if name in self.shapes)
            log_likelihood = total(site["log_prob"] for name, site in sites.items() if name not in self.shapes)
            prior_score, likelihood_score = (
                torch.autograd.grad(value.sum(), z, retain_graph=True, materialize_grads=True)[0]
                for value in (log_prior, log_likelihood)
            )
        return _State(z.detach(), log_prior.detach(), log_likelihood.detach(), prior_score, likelihood_score)

    @torch.no_grad()
    def prior_draws(self, num_chains: int) -> Tensor:
        """Z ~ p(z), shape ``(S, B, D)``."""
        sites = _sites(self.model, self.x, num_chains)
        return self.flat({name: sites[name]["value"] for name in self.shapes})

    def flat(self, values: dict[str, Tensor]) -> Tensor:
        """The values of all latent sites in one tensor, ``(S, B, D)``."""
        return torch.cat([values[name].reshape(*values[name].shape[:2], -1) for name in self.shapes], -1)

    def _values(self, z: Tensor) -> dict[str, Tensor]:
        parts = z.split([shape.numel() for shape in self.shapes.values()], -1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(*part.shape[:2], *shape) for (name, shape), part in named}

    def schedule(self, num_chains: int, num_steps: int) -> list[_Temperature]:
        """The temperatures, with step sizes adapted to ``ACCEPTANCE`` by chains of their own."""
        betas = _schedule(num_steps)
        state = self(self.prior_draws(math.ceil(num_chains / 4)))
        log_step = torch.full_like(state.log_prior[0], math.log(FIRST_STEP_SIZE))
        rungs = []
        for before, beta in itertools.pairwise(betas):
            state, acceptance = self.transition(state, beta, log_step.exp())
            log_step = log_step + GAIN * (acceptance.mean(0) - ACCEPTANCE)
            rungs.append(_Temperature(beta, beta - before, log_step.exp()))
        return rungs

    def anneal(self, z: Tensor, schedule: Sequence[_Temperature], reverse: bool = False) -> tuple[Tensor, Tensor]:
        """Log w of chains from z, ``(S, B)`` in float64, and their mean acceptance rate, ``(B,)``.

        A chain in reverse starts at the last temperature and undoes what one from the prior does, in its order.
        """
        state = self(z)
        log_weights = torch.zeros_like(state.log_prior, dtype=torch.float64)
        accepted = torch.zeros_like(state.log_prior[0])
        for rung in reversed(schedule) if reverse else schedule:
            before = state
            state, acceptance = self.transition(state, rung.beta, rung.step_size)
            log_weights += rung.increment * (state if reverse else before).log_likelihood
            accepted += acceptance.mean(0)
        return log_weights, accepted / len(schedule)

    def transition(self, state: _State, beta: float, step_size: Tensor) -> tuple[_State, Tensor]:
        """One HMC transition that leaves p(z) p(x | z)^β invariant, and its acceptance probabilities, ``(S, B)``."""
        momentum = torch.randn_like(state.z)
        jittered = step_size * (1 + JITTER * (2 * torch.rand_like(state.log_prior) - 1))
        proposal, end = self.leapfrog(state, momentum, beta, jittered.unsqueeze(-1))
        gain = proposal.log_density(beta) - state.log_density(beta)
        log_ratio = gain - 0.5 * (end.square() - momentum.square()).sum(-1)
        acceptance = log_ratio.nan_to_num(nan=-math.inf).clamp_max(0).exp()  # not a number where it flew off
        accepted = torch.rand_like(acceptance) < acceptance
        self.tick()
        return _State(*(_where(accepted, new, old) for new, old in zip(proposal, state, strict=True))), acceptance

    def leapfrog(self, state: _State, momentum: Tensor, beta: float, step_size: Tensor) -> tuple[_State, Tensor]:
        """The trajectory's end: ``leapfrog_steps`` steps, reversible and volume preserving, one gradient each."""
        for _ in range(self.leapfrog_steps):
            momentum = momentum + 0.5 * step_size * state.score(beta)
            state = self(state.z + step_size * momentum)
            momentum = momentum + 0.5 * step_size * state.score(beta)
        return state, momentum


def _batches(model: Model, x: Tensor, num_chains: int, num_steps: int, leapfrog_steps: int) -> Sequence[Tensor]:
    """The data, as many at a time as fit with their chains; refuses what cannot be annealed."""
    checked_sizes(num_chains=(num_chains,), num_steps=(num_steps,), leapfrog_steps=(leapfrog_steps,))
    x = as_input(model, x)
    with isolated():
        _checked_sites(model, x[:2])
    return x.split(max(1, CHUNK_VALUES // (x[0].numel() * num_chains)))


def _sites(model: Model, x: Tensor, num_draws: int) -> dict[str, dict[str, Any]]:
    """The sites of a trace with draws in a plate of their own, left of the data's."""
    with pyro.plate("draws", num_draws, dim=-2):
        trace = poutine.trace(model).get_trace(x)
    trace.compute_log_prob()
    return sample_sites(trace)


@torch.no_grad()
def _checked_sites(model: Model, x: Tensor) -> dict[str, dict[str, Any]]:
    sites = _sites(model, x, 2)
    for name, site in sites.items():
        shape = tuple(site["log_prob"].shape)
        if shape != (2, len(x)):
            raise InputError(
                f"the model's site {name!r} has log-densities of shape {shape} for 2 draws of {len(x)} data: put it "
                'inside `with pyro.plate("data", len(x))`, and declare the dimensions of one datum to be its event, '
                "images by .to_event(3), vectors by .to_event(1)"
            )
        if not site["is_observed"] and not _unbounded(site):
            raise InputError(
                f"the model's latent {name!r} samples {type(site['fn']).__name__}, but annealing moves latents along "
                "gradients: expected continuous ones without bounds; sum discrete ones out, or take log_likelihood"
            )
    if len({site["is_observed"] for site in sites.values()}) < 2:
        raise InputError(f"the model has the sites {sorted(sites)}: expected at least one latent and one observation")
    return sites


def _unbounded(site: dict[str, Any]) -> bool:
    support, value = site["fn"].support, site["value"]
    probe = torch.linspace(-PROBE, PROBE, value.numel(), device=value.device).reshape(value.shape)
    return not support.is_discrete and bool(support.check(probe).all() and support.check(-probe).all())


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


def _where(accepted: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(accepted if new.dim() == accepted.dim() else accepted.unsqueeze(-1), new, old)
