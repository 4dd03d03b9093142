"""The evidence lower bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vaes.losses.base import Loss, Pair, Terms
from pyro_vaes.traces import (
    check_reparameterized,
    expectation,
    is_enumerated,
    log_q_stop_gradient,
    paired_traces,
    sample_sites,
    total,
)


class Parts(NamedTuple):
    """The parts of an evidence lower bound; tensors ``(B,)`` in nats, dictionaries by latent site.

    Attributes:
        reconstruction: E_q[log p(x | z)].
        kl: KL(q(z | x) ‖ p(z)) over all latents.
        kls: the KL of each latent.
        latents: the draws of each latent, ``(B, ·)`` or ``(S, B, ·)``.
        posteriors: q of each latent, at the draws of the latents before it.
        priors: p of each latent, at the same draws.
    """

    reconstruction: Tensor
    kl: Tensor
    kls: dict[str, Tensor]
    latents: dict[str, Tensor]
    posteriors: dict[str, TorchDistribution]
    priors: dict[str, TorchDistribution]

    def terms(self) -> Terms:
        """Reconstruction and KL by name, and the KL of each latent, if there are several."""
        several = {f"kl_{site}": value for site, value in self.kls.items()} if len(self.kls) > 1 else {}
        return {"reconstruction": self.reconstruction, "kl": self.kl, **several}


class ELBO(Loss):
    """Evidence lower bound, E_q[log p(x | z)] - β KL(q(z | x) ‖ p(z)).

    The KL is closed-form wherever one is registered, and log q - log p at the draw elsewhere, or where the guide
    says that this has less noise (``Guide.analytic_kl``); so it is too where guide and model sample several latents
    in different orders, as the closed form holds only given what both sampled before. Gradients are pathwise.

    Discrete latents that the guide marks ``infer={"enumerate": "parallel"}`` are summed out exactly,
    Σ_y q(y | x) [log p(x, y, z_y) - log q(y, z_y | x)], with a draw z_y for every y.

    Args:
        num_particles: number S of draws a datum, all in one pass.
        beta: weight of the KL: a number, or a function of the step such as :class:`Warmup`. The terms that are
            reported never carry it.
        sticking_the_landing: whether to drop the score of log q, whose mean is 0, from the guide's gradient: no noise
            is left where q is the posterior. The KL is then never taken in closed form.

    Shapes:
        ``terms`` gives ``reconstruction`` and ``kl``, each ``(B,)``; a model of several latents adds ``kl_<site>``.

    Raises:
        InputError: If a latent is neither enumerated nor has a reparameterized sampler, so that its gradient
            would silently be wrong.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2014);
        Sticking the Landing (Roeder, Wu, Duvenaud, 2017);
        beta-VAE (Higgins et al., 2017); Ladder Variational Autoencoders (Sonderby et al., 2016) for warm-up.

    Example:
        >>> {name: term.shape for name, term in ELBO().terms(vae, guide, x).items()}
        {'reconstruction': torch.Size([4]), 'kl': torch.Size([4])}
    """

    def __init__(
        self,
        num_particles: int = 1,
        beta: float | Callable[[int], float] = 1.0,
        sticking_the_landing: bool = False,
    ) -> None:
        super().__init__(num_particles)
        self.beta = beta
        self.sticking_the_landing = sticking_the_landing

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - β · kl, and the two (and the KL of each latent, if there are several)."""
        parts = self.parts(model, guide, x, *args)
        return parts.reconstruction - self.kl_weight() * parts.kl, parts.terms()

    def parts(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> Parts:
        """The parts that this and derived objectives are made of, from one pair of traces."""
        model_trace, guide_trace = paired_traces(
            model, guide, x, *args, num_particles=self.num_particles, enumerate_discrete=True
        )
        sites, latents = sample_sites(model_trace), sample_sites(guide_trace)
        mean = expectation(latents, self.num_particles)
        same_order = list(latents) == [name for name, site in sites.items() if not site["is_observed"]]
        analytic = getattr(guide, "analytic_kl", True) and same_order and not self.sticking_the_landing
        kls = {name: mean(_kl(name, site, sites[name], analytic)) for name, site in latents.items()}
        kl = total(kls.values())
        if self.sticking_the_landing:
            sampled = mean(total(site["log_prob"] for site in latents.values()))
            kl = kl - sampled + mean(log_q_stop_gradient(guide, x, *args, guide_trace=guide_trace))
        return Parts(
            reconstruction=mean(total(site["log_prob"] for site in sites.values() if site["is_observed"])),
            kl=kl,
            kls=kls,
            latents={name: site["value"] for name, site in latents.items()},
            posteriors={name: site["fn"] for name, site in latents.items()},
            priors={name: sites[name]["fn"] for name in latents},
        )

    def kl_weight(self) -> Any:
        """The KL's weight β at this step."""
        return self.schedule_values()[0]

    def schedule(self) -> tuple[float, ...]:
        """The KL's weight β at this step."""
        return (self.beta(self.num_steps) if callable(self.beta) else self.beta,)


def _kl(name: str, guide_site: dict[str, Any], model_site: dict[str, Any], analytic: bool) -> Tensor:
    q: TorchDistribution = guide_site["fn"]
    if is_enumerated(guide_site):
        return guide_site["log_prob"] - model_site["log_prob"]
    check_reparameterized(name, q)
    if analytic:
        try:
            return scale_and_mask(kl_divergence(q, model_site["fn"]), guide_site["scale"], guide_site["mask"])
        except NotImplementedError:
            pass
    return guide_site["log_prob"] - model_site["log_prob"]
