"""A guide against draws from the exact posterior by the No-U-Turn sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import init_to_sample
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, seeded
from pyro_vaes.evaluate.psis import is_first_line
from pyro_vaes.param_store import isolated
from pyro_vaes.traces import sample_sites, total
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_whole

MOST_DATA = 32  # all chains of all data move in one trajectory, whose steps shorten as they grow in number


@dataclass(frozen=True)
class ReferencePosterior:
    """Draws from p(z | x) of N data by Markov chains, with their diagnostics.

    Attributes:
        draws: shape ``(chains, S, N, Z)``, the latents joined in the order of ``sites``.
        r_hat: the larger of the rank-normalized split R-hat of the draws and of their folded form, which sees
            chains of unequal spread, shape ``(N, Z)``; below 1.01 the chains agree. NaN for a single chain.
        effective_sample_size: the smaller of those of z and of its squared deviation, at most all draws, shape
            ``(N, Z)``; NaN where no chain moved.
        sites: size of each latent by name.
    """

    draws: Tensor
    r_hat: Tensor
    effective_sample_size: Tensor
    sites: Mapping[str, int]

    @property
    def reliable(self) -> float:
        """Share of the data whose R-hat is below 1.01 in every dimension."""
        return (self.r_hat < 1.01).all(-1).double().mean().item()


def reference_posterior(
    model: Callable[..., Any],
    x: Tensor,
    num_samples: int = 1000,
    warmup_steps: int = 300,
    num_chains: int = 4,
    seed: int = 0,
    progress: bool = False,
) -> ReferencePosterior:
    """Draws from p(z | x) by the No-U-Turn sampler, for a handful of data.

    All chains of all data are one batch of one run: their joint target is the product of the posteriors, so that each
    has its own as its marginal, and every evaluation of the network serves them all. Chains start from the prior
    and share nothing but the length of the trajectories; one datum that is hard to sample slows all of them.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per chain.
        warmup_steps: number of steps before them, in which step size and scales adapt.
        num_chains: number of chains per datum.
        seed: seed of starts and draws.
        progress: whether to show a bar.

    Raises:
        InputError: If latents are discrete, data too many, or numbers out of range.

    References:
        The No-U-Turn Sampler (Hoffman, Gelman, 2014);
        Rank-Normalization, Folding, and Localization: An Improved R-hat (Vehtari, Gelman, Simpson, Carpenter,
        Buerkner, 2021).

    Example:
        >>> reference_posterior(vae, x, num_samples=20, warmup_steps=20, num_chains=2).draws.shape
        torch.Size([2, 20, 4, 2])
    """
    for name, value, least in (
        ("num_samples", num_samples, 4),
        ("warmup_steps", warmup_steps, 1),
        ("num_chains", num_chains, 1),
    ):
        check_whole(name, value, least)
    if not 0 < len(x) <= MOST_DATA:
        raise InputError(f"{len(x)} data: expected 1 to {MOST_DATA}, such as x[:8], since each costs many seconds")
    x = as_input(model, x)
    with isolated(), seeded(seed, x.device), torch.enable_grad():
        sites = {name: value.shape[-1] for name, value in prior_draws(model, x).items()}
        chains = x.repeat(num_chains, *[1] * (x.dim() - 1))
        kernel, start, transforms = _sampler(model, chains)
        run = MCMC(
            kernel,
            num_samples,
            warmup_steps,
            initial_params=start,
            transforms=transforms,
            disable_progbar=not progress,
        )
        run.run()
    joint = joined(flat(run.get_samples(), (num_samples, len(chains))), sites)
    draws = joint.unflatten(1, (num_chains, len(x))).transpose(0, 1).detach().cpu()
    each = draws.unbind(2)  # one datum at a time, since the lags of all would fill the memory
    return ReferencePosterior(
        draws, torch.stack([_r_hat(one) for one in each]), torch.stack([_effective(one) for one in each]), sites
    )


@torch.no_grad()
def prior_draws(model: Callable[..., Any], x: Tensor) -> dict[str, Tensor]:
    """One draw of each latent from the prior, flat: ``(B, D)`` by name.

    Raises:
        InputError: If the model has no latent, or one that is discrete or outside the data plate.
    """
    sites = sample_sites(poutine.trace(model).get_trace(x))
    return continuous({name: site for name, site in sites.items() if not site["is_observed"]}, len(x))


def continuous(latents: Mapping[str, Mapping[str, Any]], size: int) -> dict[str, Tensor]:
    """The values of a trace's latent sites, flat: ``(B, D)`` by name.

    Raises:
        InputError: If there is no latent, or one that is discrete or outside the data plate.
    """
    if not latents:
        raise InputError("the model has no latent site: expected one such as pyro.sample('z', ...)")
    for name, site in latents.items():
        if site["fn"].support.is_discrete:
            raise InputError(
                f"the latent {name!r} is discrete, but this takes continuous latents only: "
                "give a model that sums over it, or one conditioned on it"
            )
    return flat({name: site["value"] for name, site in latents.items()}, (size,))


def flat(values: Mapping[str, Tensor], batch: tuple[int, ...]) -> dict[str, Tensor]:
    """Values of sites with the dimensions of one datum made one, ``(*batch, D)`` by name.

    Raises:
        InputError: If a site does not have the batch's dimensions.

    Example:
        >>> flat({"z": torch.zeros(5, 4, 2, 3)}, (5, 4))["z"].shape
        torch.Size([5, 4, 6])
    """
    for name, value in values.items():
        if value.shape[: len(batch)] != batch:
            raise InputError(
                f"the site {name!r} has values of shape {tuple(value.shape)}, expected {batch} first: "
                'put it inside `with pyro.plate("data", len(x))`'
            )
    return {name: value.reshape(*batch, -1) for name, value in values.items()}


def joined(values: Mapping[str, Tensor], sites: Mapping[str, int]) -> Tensor:
    """Flat values of sites side by side."""
    return torch.cat([values[name] for name in sites], -1)


def _sampler(model: Callable[..., Any], x: Tensor) -> tuple[NUTS, dict[str, Tensor], dict[str, Any]]:
    """The kernel, a start from the prior in unconstrained coordinates, and the way to them."""
    start, potential, transforms, _ = initialize_model(model, (x,), init_strategy=init_to_sample)
    if isinstance(model, LatentVariableModel) and type(model).forward is LatentVariableModel.forward:
        potential = _potential(model, x, transforms)
    return NUTS(potential_fn=potential), start, transforms


def _potential(
    model: LatentVariableModel, x: Tensor, transforms: Mapping[str, Any]
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Pyro's potential, -log p(x, z) in unconstrained coordinates, without the cost of a trace."""

    def potential(values: Mapping[str, Tensor]) -> Tensor:
        z = {site: transforms[site].inv(values[site]) for site in model.sites}
        volume = total(transforms[site].log_abs_det_jacobian(z[site], values[site]).sum() for site in model.sites)
        return volume - model.log_joint(x, *z.values()).sum()

    return potential


def _r_hat(draws: Tensor) -> Tensor:
    """Rank-normalized split R-hat, plain and folded, of draws ``(chains, S, Z)``: shape ``(Z,)``."""
    if len(draws) < 2:
        return draws.new_full(draws.shape[2:], torch.nan)
    return _by_dimension(_diagnostics().rhat, draws)


def _effective(draws: Tensor) -> Tensor:
    """Effective sample size of draws ``(chains, S, Z)``: the smaller of mean's and variance's, shape ``(Z,)``."""
    mean = partial(_diagnostics().ess, method="mean")
    deviation = (draws - draws.mean((0, 1))).square()
    size = torch.minimum(_by_dimension(mean, draws), _by_dimension(mean, deviation))
    constant = draws.amin((0, 1)) == draws.amax((0, 1))
    return size.clamp(max=draws[..., 0].numel()).where(~constant, torch.nan)


def _by_dimension(statistic: Callable[[np.ndarray], Any], draws: Tensor) -> Tensor:
    """A statistic of chains, ``(chains, S)`` to a number, for each dimension of draws ``(chains, S, Z)``."""
    with np.errstate(all="ignore"):  # of constant chains, whose statistic is NaN
        return draws.new_tensor([float(statistic(one.numpy())) for one in draws.unbind(-1)])


def _diagnostics() -> Any:
    """Arviz's diagnostics of arrays, from either of its lines."""
    import arviz

    if is_first_line():
        return arviz
    from arviz_stats.base import array_stats

    return array_stats
