"""The training step of every guide, written by hand in plain PyTorch: no Pyro, no distributions, fused Adam.

Each loss below is minus the mean over the batch of the objective that the library maximizes under that guide, in closed
form wherever the library has one, for a standard normal prior and Bernoulli data (Gaussian under the Laplace guide). It
takes nothing but the networks and options of model and guide. Equal seeds draw the same noise, so that values and
gradients can be tested against the library's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.baselines.released_laplace import released_loss
from pyro_vaes import VAE, guides
from pyro_vaes.distributions.autoregressive_transform import OPEN_GATE
from pyro_vaes.vae import Guide


def training(vae: VAE, guide: Guide, x: Tensor, compiled: bool = False) -> Callable[[], Tensor]:
    """A function that takes one gradient step on a batch and returns the loss, which ``torch.compile`` may compile."""
    loss_of = torch.compile(LOSSES[type(guide)]) if compiled else LOSSES[type(guide)]
    optimizer = torch.optim.Adam([*vae.parameters(), *guide.parameters()], lr=1e-3, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(vae, guide, x)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def mean_field(vae: VAE, guide: guides.MeanField, x: Tensor) -> Tensor:
    """KL of independent normals in closed form."""
    mean, scale = _moments(guide.head(guide.encoder(x)))
    z = mean + scale * torch.randn_like(scale)
    return (_kl(mean, scale) - _log_likelihood(vae, x, z)).mean()


def full_covariance(vae: VAE, guide: guides.FullCovariance, x: Tensor) -> Tensor:
    """KL from the squared norms σ² (1 + Σ T²) of the rows of L = diag(σ) (I + T)."""
    size = vae.latent_dim
    outputs = guide.head(guide.encoder(x))
    mean, scale = _moments(outputs[:, : 2 * size])
    rows, columns = guide.below
    square = x.new_zeros(len(x), size * size).index_copy(1, rows * size + columns, outputs[:, 2 * size :])
    below = square.unflatten(-1, (size, size))
    noise = torch.randn_like(scale)
    z = mean + scale * (noise + (below @ noise.unsqueeze(-1)).squeeze(-1))
    kl = _kl(mean, scale) + 0.5 * (scale.square() * below.square().sum(-1)).sum(-1)
    return (kl - _log_likelihood(vae, x, z)).mean()


def low_rank(vae: VAE, guide: guides.LowRank, x: Tensor) -> Tensor:
    """log |diag σ² + F Fᵀ| by the determinant of the small matrix I + Rᵀ R, with F = diag(σ) R."""
    outputs = guide.head(guide.encoder(x)).unflatten(-1, (2 + guide.rank, -1))
    mean, scale, relative = outputs[:, 0], _positive(outputs[:, 1]), outputs[:, 2:]
    columns = scale.unsqueeze(1) * relative
    along, apart = mean.new_empty(len(x), guide.rank).normal_(), torch.randn_like(mean)
    z = mean + scale * apart + (along.unsqueeze(1) @ columns).squeeze(1)
    small = torch.linalg.cholesky(relative @ relative.mT + torch.eye(guide.rank, dtype=x.dtype))
    kl = _kl(mean, scale) + 0.5 * columns.square().sum((1, 2)) - small.diagonal(dim1=1, dim2=2).log().sum(-1)
    return (kl - _log_likelihood(vae, x, z)).mean()


def householder(vae: VAE, guide: guides.Householder, x: Tensor) -> Tensor:
    """KL of independent normals, since reflections leave N(0, I) unchanged."""
    outputs = guide.head(guide.encoder(x)).unflatten(-1, (2 + guide.flows, -1))
    mean, scale, vectors = outputs[:, 0], _positive(outputs[:, 1]), outputs[:, 2:]
    z = mean + scale * torch.randn_like(scale)
    for unit in F.normalize(vectors, dim=-1).unbind(1):
        z = z - 2 * (unit * z).sum(-1, keepdim=True) * unit
    return (_kl(mean, scale) - _log_likelihood(vae, x, z)).mean()


def inverse_autoregressive_flow(vae: VAE, guide: guides.InverseAutoregressiveFlow, x: Tensor) -> Tensor:
    """log q from the noise of the draw and the gates of the flow, whose base is wider by what open gates contract."""
    features = guide.encoder(x)
    mean, scale = (each / OPEN_GATE ** len(guide.flows) for each in _moments(guide.head(features)))
    noise = torch.randn_like(scale)
    z, log_slopes = mean + scale * noise, scale.log()
    for network in guide.flows:
        shift, raw = network(z, network.context(features)).unbind(-2)
        gate = (raw + 2).sigmoid()
        z, log_slopes = shift + gate * (z - shift), log_slopes + F.logsigmoid(raw + 2)
    kl = (0.5 * (z.square() - noise.square()) - log_slopes).sum(-1)
    return (kl - _log_likelihood(vae, x, z)).mean()


def semi_amortized(vae: VAE, guide: guides.SemiAmortized, x: Tensor) -> Tensor:
    """Gradient of log p(x | z) in z by autograd from x - σ(logits); the rest of each update by hand."""
    parameters = guide.head(guide.encoder(x))
    velocity = torch.zeros_like(parameters)
    for _ in range(guide.steps):
        mean, raw = parameters.chunk(2, -1)
        scale = _positive(raw)
        noise = torch.randn_like(scale)
        z = mean + scale * noise
        logits = vae.decoder(z)
        (slope,) = torch.autograd.grad(logits, z, x - logits.sigmoid(), create_graph=True)
        gradient = torch.cat([slope - mean, (slope * noise - scale + 1 / scale) * raw.sigmoid()], -1)
        clipped = gradient * (guide.clip / gradient.norm(dim=-1, keepdim=True).clamp_min(guide.clip))
        velocity = guide.momentum * velocity + clipped
        parameters = parameters + guide.lr * velocity
    mean, scale = _moments(parameters)
    z = mean + scale * torch.randn_like(scale)
    return (_kl(mean, scale) - _log_likelihood(vae, x, z)).mean()


def mixture(vae: VAE, guide: guides.Mixture, x: Tensor) -> Tensor:
    """One draw per component; E[log p(z)] in closed form."""
    means, scales, gates = _components(guide, x)
    z = means + scales * _noise(means)
    log_joint = _log_likelihood(vae, x, z) + _log_prior(means, scales)
    keeps, zero = F.logsigmoid(-gates), gates.new_zeros(1, len(x))
    later = keeps.flip(0).cumsum(0).flip(0)
    log_weights = torch.cat([zero, F.logsigmoid(gates)]) + torch.cat([later, zero])
    log_q = (_log_densities(z, means, scales) + log_weights).logsumexp(1)
    return -(log_weights.exp() * (log_joint - log_q)).sum(0).mean()


def recursive_mixture(vae: VAE, guide: guides.RecursiveMixture, x: Tensor) -> Tensor:
    """New components ascend their ELBO and, up to a bound, the KL from the mixture before them."""
    return _boosted(vae, guide, x, lambda own, before: (own - before).clamp_max(guide.bound) - own)


def boosted_mixture(vae: VAE, guide: guides.BoostedMixture, x: Tensor) -> Tensor:
    """New components ascend as in the recursive mixture, and their entropy once more, with a weight."""
    return _boosted(
        vae, guide, x, lambda own, before: (own - before).clamp_max(guide.bound) - (1 + guide.entropy) * own
    )


def laplace(vae: VAE, guide: guides.Laplace, x: Tensor) -> Tensor:
    """Released arithmetic of the method."""
    return released_loss(vae, guide, x) / len(x)


LOSSES: dict[type[Guide], Callable[..., Tensor]] = {
    guides.MeanField: mean_field,
    guides.FullCovariance: full_covariance,
    guides.LowRank: low_rank,
    guides.Laplace: laplace,
    guides.SemiAmortized: semi_amortized,
    guides.InverseAutoregressiveFlow: inverse_autoregressive_flow,
    guides.Householder: householder,
    guides.Mixture: mixture,
    guides.RecursiveMixture: recursive_mixture,
    guides.BoostedMixture: boosted_mixture,
}


def _boosted(
    vae: VAE, guide: guides.RecursiveMixture, x: Tensor, component_objective: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """One pass for all groups of parameters, with the value of the whole mixture's ELBO.

    ``component_objective`` is what component m maximizes beside log p(x, z), from log qₘ and log Qₘ₋₁ at its draw.
    """
    means, scales, gates = _components(guide, x)
    noise = _noise(means)
    z = means + scales * noise
    to_decoder = z.view_as(z)
    log_likelihood, log_prior = _log_likelihood(vae, x, to_decoder), _log_prior(means, scales)
    log_joint = (log_likelihood + log_prior).detach()
    log_q = _log_densities(z, means.detach(), scales.detach())
    log_own = -0.5 * noise.square().sum(-1) - scales.log().sum(-1)

    objective = log_prior.sum(0) - log_own[0]
    mix, weights, elbo = log_q[:, 0], torch.ones_like(log_joint[:1]), log_joint[0] - log_q[0, 0].detach()
    for m in range(1, len(z)):
        objective = objective + component_objective(log_own[m], mix[m])
        grow, keep = F.logsigmoid(gates[m - 1]), F.logsigmoid(-gates[m - 1])
        upto = torch.logaddexp(mix[: m + 1].detach() + keep, log_q[: m + 1, m].detach() + grow)
        weights = torch.cat([weights.detach() * keep.exp(), grow.exp().unsqueeze(0)])
        elbo = (weights * (log_joint[: m + 1] - upto)).sum(0)
        objective = objective + elbo  # whose gradient reaches the gate alone
        mix = torch.logaddexp(mix + keep.detach(), log_q[:, m] + grow.detach())

    # the gradient of each draw has its weight in the model, and weight 1 in its own component
    weights = weights.detach().clamp_min(1e-20)
    to_decoder.register_hook(lambda gradient: gradient / weights.unsqueeze(-1))
    objective = objective + (weights * log_likelihood).sum(0)
    return -(elbo.detach() + objective - objective.detach()).mean()


def _positive(raw: Tensor) -> Tensor:
    return F.softplus(raw) + 1e-4


def _moments(outputs: Tensor) -> tuple[Tensor, Tensor]:
    mean, raw = outputs.chunk(2, -1)
    return mean, _positive(raw)


def _kl(mean: Tensor, scale: Tensor) -> Tensor:
    """KL(N(mean, scale²) ‖ N(0, I))."""
    return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum(-1)


def _log_likelihood(vae: VAE, x: Tensor, z: Tensor) -> Tensor:
    logits = vae.decoder(z)
    return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum((-3, -2, -1))


def _components(guide: guides.Mixture, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and scales ``(M, B, Z)``, and the gates' logits ``(M - 1, B)``."""
    features = [encoder(x) for encoder in (guide.encoder, *guide.encoders)]
    heads = (guide.head, *guide.heads)
    outputs = torch.stack([head(each) for head, each in zip(heads, features, strict=True)])
    gates = [gate(each.detach()).squeeze(-1) for gate, each in zip(guide.gates, features[1:], strict=True)]
    return *_moments(outputs), torch.stack(gates)


def _noise(means: Tensor) -> Tensor:
    """Noise of all components, drawn in the library's order, batch first."""
    components, batch, size = means.shape
    return means.new_empty(batch, components, size).normal_().movedim(1, 0)


def _log_prior(means: Tensor, scales: Tensor) -> Tensor:
    """E[log p(z)] under each component, without the constant that cancels with that of log q."""
    return -0.5 * (means.square() + scales.square()).sum(-1)


def _log_densities(z: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """log q_j(z_k), ``(draw k, component j, B)``, without the same constant."""
    return -0.5 * ((z.unsqueeze(1) - means) / scales).square().sum(-1) - scales.log().sum(-1)
