"""Hamiltonian Monte Carlo on tempered posteriors, vectorized over chains and data.

Pyro's kernel runs one chain at a time with one step size, while annealing needs one step size per datum and a new
temperature at every transition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vaes.distributions.support import is_unbounded
from pyro_vaes.errors import InputError
from pyro_vaes.traces import sample_sites, total

Model = Callable[..., Any]

ACCEPTANCE = 0.65  # target rate of the adaptation, near the optimum for HMC
GAIN = 0.2  # of the adaptation, in units of the logarithm of the step size
JITTER = 0.2  # relative; trajectories of one fixed length can be periodic and fail to mix


class State(NamedTuple):
    """Latents, their log-densities and the gradients of these.

    Attributes:
        z: the latents of all sites in one vector, shape ``(S, B, D)``.
        log_prior: log p(z), shape ``(S, B)``.
        log_likelihood: log p(x | z), shape ``(S, B)``.
        prior_score: ∇ log p(z), shape ``(S, B, D)``.
        likelihood_score: ∇ log p(x | z), shape ``(S, B, D)``.
    """

    z: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    prior_score: Tensor
    likelihood_score: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log p(z) p(x | z)^β."""
        return self.log_prior + beta * self.log_likelihood

    def score(self, beta: float) -> Tensor:
        """∇ log p(z) p(x | z)^β; a new temperature needs no new gradient."""
        return self.prior_score + beta * self.likelihood_score


class HMC:
    """Base class of the transitions that leave the densities p(z) p(x | z)^β of one batch invariant.

    A new one gives the densities when it is called, and implements :meth:`prior_draws`.

    Args:
        leapfrog_steps: leapfrog steps of one transition.
        on_transition: called after each transition, such as ``tqdm.update``.
    """

    def __init__(self, leapfrog_steps: int, on_transition: Callable[[], Any] = lambda: None) -> None:
        self.leapfrog_steps, self.on_transition = leapfrog_steps, on_transition

    def __call__(self, z: Tensor) -> State:
        """The densities and their gradients at z, ``(S, B, D)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement __call__(z)")

    def prior_draws(self, num_chains: int) -> Tensor:
        """Z ~ p(z), shape ``(S, B, D)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement prior_draws(num_chains)")

    def transition(self, state: State, beta: float, step_size: Tensor) -> tuple[State, Tensor]:
        """One HMC transition that leaves p(z) p(x | z)^β invariant, and its acceptance probabilities, ``(S, B)``."""
        momentum = torch.randn_like(state.z)
        jittered = step_size * (1 + JITTER * (2 * torch.rand_like(state.log_prior) - 1))
        proposal, end = self.leapfrog(state, momentum, beta, jittered.unsqueeze(-1))
        gain = proposal.log_density(beta) - state.log_density(beta)
        log_ratio = gain - 0.5 * (end.square() - momentum.square()).sum(-1)
        acceptance = log_ratio.nan_to_num(nan=-math.inf).clamp_max(0).exp()  # NaN where the trajectory diverged
        accepted = torch.rand_like(acceptance) < acceptance
        self.on_transition()
        return State(*(_where(accepted, new, old) for new, old in zip(proposal, state, strict=True))), acceptance

    def leapfrog(self, state: State, momentum: Tensor, beta: float, step_size: Tensor) -> tuple[State, Tensor]:
        """End of a trajectory of ``leapfrog_steps`` reversible, volume-preserving steps, with one gradient each."""
        for _ in range(self.leapfrog_steps):
            momentum = momentum + 0.5 * step_size * state.score(beta)
            state = self(state.z + step_size * momentum)
            momentum = momentum + 0.5 * step_size * state.score(beta)
        return state, momentum


class Target(HMC):
    """The densities p(z) p(x | z)^β of a Pyro model, and the HMC transitions that leave them invariant.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        x: the data, ``(B, *event_shape)``.
        leapfrog_steps: leapfrog steps of one transition.
        on_transition: called after each transition, such as ``tqdm.update``.

    Raises:
        InputError: If the model has no observation, or a latent that is discrete, bounded or outside the data plate.

    Example:
        >>> target = Target(vae, x, leapfrog_steps=3)
        >>> start = target(target.prior_draws(num_chains=2))
        >>> state, acceptance = target.transition(start, beta=1.0, step_size=torch.full((4,), 0.1))
        >>> state.z.shape, acceptance.shape
        (torch.Size([2, 4, 2]), torch.Size([2, 4]))
    """

    def __init__(
        self, model: Model, x: Tensor, leapfrog_steps: int, on_transition: Callable[[], Any] = lambda: None
    ) -> None:
        super().__init__(leapfrog_steps, on_transition)
        self.model, self.x = model, x
        sites = checked_sites(model, x)
        self.shapes = {name: site["fn"].event_shape for name, site in sites.items() if not site["is_observed"]}

    def __call__(self, z: Tensor) -> State:
        """The densities and their gradients at z, ``(S, B, D)``."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            sites = _sites(poutine.condition(self.model, data=self._values(z)), self.x, len(z))
            log_prior = total(site["log_prob"] for name, site in sites.items() if name in self.shapes)
            log_likelihood = total(site["log_prob"] for name, site in sites.items() if name not in self.shapes)
            prior_score, likelihood_score = (
                torch.autograd.grad(value.sum(), z, retain_graph=True, materialize_grads=True)[0]
                for value in (log_prior, log_likelihood)
            )
        return State(z.detach(), log_prior.detach(), log_likelihood.detach(), prior_score, likelihood_score)

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


def adapted(log_step: Tensor, acceptance: Tensor) -> Tensor:
    """Log step sizes, adapted toward the acceptance rate ``ACCEPTANCE``.

    Args:
        log_step: logarithms of the step sizes, one per datum, ``(B,)``.
        acceptance: acceptance probabilities of a transition with them, ``(S, B)``.

    Example:
        >>> adapted(torch.zeros(2), torch.tensor([[0.65, 0.15]]))
        tensor([ 0.0000, -0.1000])
    """
    return log_step + GAIN * (acceptance.mean(0) - ACCEPTANCE)


def checked_sites(model: Model, x: Tensor) -> dict[str, dict[str, Any]]:
    """The sites of a model, checked for HMC.

    Raises:
        InputError: If a latent is discrete or bounded, or :func:`plated_sites` refuses the model.
    """
    sites = plated_sites(model, x)
    for name, site in sites.items():
        if not site["is_observed"] and not is_unbounded(site["fn"].support, site["value"]):
            raise InputError(
                f"the model's latent {name!r} samples {type(site['fn']).__name__}, but annealing moves latents along "
                "gradients: expected continuous, unbounded ones; marginalize discrete ones, or take log_likelihood"
            )
    return sites


@torch.no_grad()
def plated_sites(model: Model, x: Tensor) -> dict[str, dict[str, Any]]:
    """The sites of a model with two draws of each latent, all inside the data plate.

    Raises:
        InputError: If a site lies outside the data plate, or latents or observations are missing.
    """
    sites = _sites(model, x, 2)
    for name, site in sites.items():
        shape = tuple(site["log_prob"].shape)
        if shape != (2, len(x)):
            raise InputError(
                f"the model's site {name!r} has log-densities of shape {shape} for 2 draws of {len(x)} observations: "
                'put it inside `with pyro.plate("data", len(x))`, and declare the dimensions of one observation as its '
                "event, images by .to_event(3), vectors by .to_event(1)"
            )
    if len({site["is_observed"] for site in sites.values()}) < 2:
        raise InputError(f"the model has the sites {sorted(sites)}: expected at least one latent and one observation")
    return sites


def _sites(model: Model, x: Tensor, num_draws: int) -> dict[str, dict[str, Any]]:
    """The sites of a trace with draws in a plate of their own, left of the data plate."""
    with pyro.plate("draws", num_draws, dim=-2):
        trace = poutine.trace(model).get_trace(x)
    trace.compute_log_prob()
    return sample_sites(trace)


def _where(accepted: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(accepted if new.dim() == accepted.dim() else accepted.unsqueeze(-1), new, old)
