"""The importance-weighted bound."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from pyro_vaes.losses.base import Loss, Pair, Terms
from pyro_vaes.traces import check_reparameterized, log_q_stop_gradient, paired_traces, sample_sites, total


class IWAE(Loss):
    """Importance-weighted bound, log (1/S) Σ wₛ with log w = log p(x, z) - log q(z | x).

    It rises with S from the ELBO to log p(x). With more draws the guide's gradient drowns in noise; the doubly
    reparameterized one, Σ w̃² ∂log w/∂z ∂z/∂φ with normalized weights w̃, does not.

    Args:
        num_particles: number S of draws a datum.
        dreg: whether the guide gets the doubly reparameterized gradient.

    Shapes:
        ``terms`` gives ``bound``, and ``reconstruction`` and ``kl``, the parts of the ELBO on the same draws; each
        ``(B,)``.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2016);
        Doubly Reparameterized Gradient Estimators (Tucker, Lawson, Gu, Maddison, 2019).

    Example:
        >>> sorted(IWAE(num_particles=5, dreg=True).terms(vae, guide, x))
        ['bound', 'kl', 'reconstruction']
    """

    def __init__(self, num_particles: int = 8, dreg: bool = False) -> None:
        super().__init__(num_particles)
        self.dreg = dreg

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """The bound."""
        model_trace, guide_trace = paired_traces(model, guide, x, *args, num_particles=self.num_particles)
        for name, site in sample_sites(guide_trace).items():
            check_reparameterized(name, site["fn"])
        sites, shape = sample_sites(model_trace), (self.num_particles, len(x))
        reconstruction = total(site["log_prob"] for site in sites.values() if site["is_observed"]).reshape(shape)
        log_prior = total(site["log_prob"] for site in sites.values() if not site["is_observed"]).reshape(shape)
        log_q = total(site["log_prob"] for site in sample_sites(guide_trace).values()).reshape(shape)
        log_weights = reconstruction + log_prior - log_q
        bound = log_weights.logsumexp(0) - math.log(self.num_particles)
        terms = {"bound": bound, "reconstruction": reconstruction.mean(0), "kl": (log_q - log_prior).mean(0)}
        if self.dreg:
            held = log_q_stop_gradient(guide, x, *args, guide_trace=guide_trace).reshape(shape)
            bound = bound.detach() + self._doubly_reparameterised(reconstruction + log_prior - held, guide_trace)
        return bound, terms

    def evidence_bound(self, terms: Mapping[str, Any]) -> Any:
        """The bound itself: the guide that it trains covers the posterior, at the cost of the ELBO."""
        return terms["bound"]

    def _doubly_reparameterised(self, log_weights: Tensor, guide_trace: Trace) -> Tensor:
        """A zero with the gradient Σ w̃ ∂log w in the model, and Σ w̃² ∂log w/∂z in the draws."""
        normalized = log_weights.softmax(0).detach()
        for site in sample_sites(guide_trace).values():
            draw: Tensor = site["value"]
            if draw.requires_grad:
                event_dim = site["fn"].event_dim
                weight = normalized.reshape(draw.shape[: draw.dim() - event_dim] + (1,) * event_dim)
                draw.register_hook(functools.partial(torch.mul, weight))
        weighted = (normalized * log_weights).sum(0)
        return weighted - weighted.detach()
