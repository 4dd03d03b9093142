"""Bounds of mixture guides, with a draw from every component."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.errors import InputError
from pyro_vaes.given import NAMES, Given, bind
from pyro_vaes.guides import Mixture, RecursiveMixture
from pyro_vaes.guides.mixture import recursive_log_weights
from pyro_vaes.losses.base import Loss, Pair, Terms
from pyro_vaes.networks.positive import positive
from pyro_vaes.param_store import register_params
from pyro_vaes.vae import VAE


class StratifiedDraws(NamedTuple):
    """One draw z_m of every component and its densities: first dimension the draw, batch next."""

    gates: Tensor  # logits of ε, (B, M - 1)
    log_prior: Tensor  # log p(z_m), or its mean under q_m, (M, B)
    log_likelihood: Tensor  # log p(x | z_m), (M, B)
    log_components: Tensor  # log q_j(z_m | x), (M, B, M)


class MixtureELBO(Loss):
    """Evidence lower bound of a mixture guide, stratified: one reparameterized draw of every component.

    ELBO(Q) = Σₘ αₘ(x) E_qₘ[log p(x, z) - log Σⱼ αⱼ(x) qⱼ(z | x)]; no discrete sampling, and all draws go through the
    decoder in one batch.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl`` of the whole mixture, each ``(B,)``.

    Raises:
        InputError: If the guide is no mixture, or the model no ``VAE``.

    References:
        Recursive Inference for Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020), baseline ME.

    Example:
        >>> import pyro_vaes as pv
        >>> sorted(MixtureELBO().terms(vae, pv.guides.Mixture(vae, encoder), x))
        ['kl', 'reconstruction']
    """

    fits: type[Mixture] = Mixture

    def __init__(self) -> None:
        super().__init__(num_particles=1)

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """ELBO(Q), with all its gradients."""
        vae, mixture = self._checked(model, guide, args)
        locs, scales, gates = _components(mixture, x)
        z = (locs + scales * torch.randn_like(locs)).movedim(-2, 0)
        log_prior, log_likelihood = _log_densities(vae, x, locs, scales, z)
        log_components = NormalMixture(recursive_log_weights(gates), locs, scales).component_log_prob(z)
        terms = _terms(StratifiedDraws(gates, log_prior, log_likelihood, log_components))
        return terms["reconstruction"] - terms["kl"], terms

    def _checked(self, model: Pair, guide: Pair, args: tuple[Any, ...]) -> tuple[VAE, Any]:
        """Model and guide, bound to the inputs beside x."""
        if not isinstance(guide, self.fits):
            known = ", ".join(sorted(each.__name__ for each in _family(self.fits)))
            raise InputError(f"{type(self).__name__} does not fit the guide {type(guide).__name__}: it fits {known}")
        if not isinstance(model, VAE):
            raise InputError(f"{type(self).__name__} needs a VAE as its model, not a {type(model).__name__}")
        register_params(model)
        register_params(guide)
        given = Given(zip(NAMES, args, strict=False))
        return bind(model, given), bind(guide, given)


class RecursiveMixtureELBO(MixtureELBO):
    """Boosting of a mixture guide: every group of parameters ascends an objective of its own, in one pass.

    See :class:`~pyro_vaes.guides.RecursiveMixture` for the objectives. What is reported is the stratified ELBO of the
    whole mixture; the gradient of the objective with respect to each group is exactly that of the group's own.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl`` of the whole mixture, each ``(B,)``.

    Raises:
        InputError: If the guide is not boosted, or the model no ``VAE``.

    References:
        Recursive Inference for Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020).

    Example:
        >>> import pyro_vaes as pv
        >>> RecursiveMixtureELBO().objective(vae, pv.guides.RecursiveMixture(vae, encoder), x)[0].shape
        torch.Size([4])
    """

    fits = RecursiveMixture

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """ELBO(Q_M) in value; in gradient, the sum of every group's own objective."""
        vae, mixture = self._checked(model, guide, args)
        locs, scales, gates = _components(mixture, x)
        z = (locs + scales * torch.randn_like(locs)).movedim(-2, 0)
        log_alpha = recursive_log_weights(gates).detach()
        weights = log_alpha.movedim(-1, 0).exp().clamp_min(1e-20)

        # One pass for two groups: densities weighted by α give the model its gradient; what comes from a component is
        # scaled by 1 / α on the way back, so that it gets the gradient of its own log p(x, z), weighted by 1.
        scale = 1 / weights.unsqueeze(-1)
        own_locs, own_scales = (_ScaleGradient.apply(each, scale.movedim(0, -2)) for each in (locs, scales))
        log_prior, log_likelihood = _log_densities(vae, x, own_locs, own_scales, _ScaleGradient.apply(z, scale))
        held = NormalMixture(log_alpha, locs.detach(), scales.detach())
        log_components = held.component_log_prob(z)  # moves with the draws alone
        log_own = torch.stack([_own(locs, scales, z, m) for m in range(mixture.components)])
        draws = StratifiedDraws(gates, log_prior.detach(), log_likelihood.detach(), log_components.detach())
        terms = _terms(draws)

        surrogate = (weights * (log_prior + log_likelihood)).sum(0) - log_own[0]
        for m in range(1, mixture.components):
            log_before = (recursive_log_weights(gates[..., : m - 1]).detach() + log_components[m, :, :m]).logsumexp(-1)
            log_joint = draws.log_prior[m] + draws.log_likelihood[m]
            # log_joint has its gradient above already: here it only sets the value
            surrogate = surrogate + mixture.component_objective(log_joint, log_own[m], log_before)
            surrogate = surrogate + _gate_objective(draws, m)
        value = (terms["reconstruction"] - terms["kl"]).detach()
        return value + surrogate - surrogate.detach(), {name: term.detach() for name, term in terms.items()}


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None


def _components(mixture: Mixture, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and scales ``(B, M, Z)``, and logits of ε, ``(B, M - 1)``."""
    locs, raw_scales, gates = mixture.local_parameters(x)
    return locs, positive(raw_scales), gates


def _log_densities(model: VAE, x: Tensor, locs: Tensor, scales: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Log p(z) and log p(x | z) of draws ``(M, B, Z)``, each ``(M, B)``.

    The first is E_qₘ[log p(z)] where it has a closed form, which has no noise: -KL(qₘ ‖ p) - H(qₘ).
    """
    prior = model.prior()
    log_likelihood = model.likelihood.observation(model.features(z), x).log_prob(x)
    q = dist.Normal(locs.movedim(-2, 0), scales.movedim(-2, 0)).to_event(1)
    try:
        return -kl_divergence(q, prior) - q.entropy(), log_likelihood
    except NotImplementedError:
        return prior.log_prob(z), log_likelihood


def _own(locs: Tensor, scales: Tensor, z: Tensor, m: int) -> Tensor:
    """Log q_m(z_m | x), ``(B,)``."""
    return NormalMixture(locs.new_zeros(1), locs[:, m : m + 1], scales[:, m : m + 1]).component_log_prob(z[m])[..., 0]


def _terms(draws: StratifiedDraws) -> Terms:
    weights = recursive_log_weights(draws.gates)
    log_q = (weights + draws.log_components).logsumexp(-1)
    alpha = weights.exp().movedim(-1, 0)
    reconstruction = (alpha * draws.log_likelihood).sum(0)
    return {"reconstruction": reconstruction, "kl": (alpha * (log_q - draws.log_prior)).sum(0)}


def _gate_objective(draws: StratifiedDraws, m: int) -> Tensor:
    """ELBO(Q_m) as a function of ε_m alone."""
    gates = torch.cat([draws.gates[..., : m - 1].detach(), draws.gates[..., m - 1 : m]], -1)
    upto = slice(m + 1)
    first = StratifiedDraws(
        gates, draws.log_prior[upto], draws.log_likelihood[upto], draws.log_components[upto, :, upto]
    )
    terms = _terms(first)
    return terms["reconstruction"] - terms["kl"]


def _family(base: type[Mixture]) -> list[type[Mixture]]:
    below: list[type[Mixture]] = base.__subclasses__()
    return [base, *(each for one in below for each in _family(one))]
