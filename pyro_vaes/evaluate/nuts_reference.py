"""Draws from the exact posterior by the No-U-Turn sampler, as a reference for guides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import init_to_sample
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.chains import effective_samples, r_hat
from pyro_vaes.evaluate.inputs import as_inputs, evaluating, seeded
from pyro_vaes.given import take
from pyro_vaes.traces import sample_sites, total
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_whole

MAX_DATA = 32  # all chains of all data share one trajectory, whose step size decreases with their number


@dataclass(frozen=True)
class ReferencePosterior:
    """Draws from p(z | x) of N data by Markov chains, with their diagnostics.

    Attributes:
        draws: shape ``(chains, S, N, Z)``, the latents joined in the order of ``sites``.
        r_hat: the larger of the rank-normalized split R-hat of the draws and of the folded draws, which detects
            chains of unequal scale, shape ``(N, Z)``; below 1.01 the chains agree. NaN for a single chain.
        effective_sample_size: the smaller of the sizes for z and for its squared deviation, at most the number of
            draws, shape ``(N, Z)``; NaN if no chain moved.
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
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> ReferencePosterior:
    """Draws from p(z | x) by the No-U-Turn sampler, for a few observations.

    All chains of all data are one batch of one run: the joint target is the product of their posteriors, which are its
    marginals, so that one evaluation of the network serves all of them. Chains start from the prior and share only the
    length of the trajectories; one datum that is hard to sample slows down all of them.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per chain.
        warmup_steps: number of warmup steps, which adapt step size and scales.
        num_chains: number of chains per datum.
        seed: seed of initial values and draws.
        progress: whether to show a progress bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the draws are then from p(z | x_seen).

    Raises:
        InputError: If a latent is discrete, there are too many observations, or a number is out of range.

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
    x, model = as_inputs(x, y, model, mask=mask)
    if len(x) > MAX_DATA:
        raise InputError(f"{len(x)} observations: expected 1 to {MAX_DATA}, such as x[:8], since each takes seconds")
    with evaluating(model, x=x), seeded(seed, x.device), torch.enable_grad():
        sites = {name: value.shape[-1] for name, value in prior_draws(model, x).items()}
        rows = torch.arange(len(x), device=x.device).repeat(num_chains)
        chains = x[rows]
        kernel, start, transforms = _sampler(take(model, rows), chains)
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
    each = draws.unbind(2)  # one datum at a time, which bounds the memory of the autocorrelations
    return ReferencePosterior(
        draws, torch.stack([r_hat(one) for one in each]), torch.stack([effective_samples(one) for one in each]), sites
    )


@torch.no_grad()
def prior_draws(model: Callable[..., Any], x: Tensor) -> dict[str, Tensor]:
    """One draw of each latent from the prior, flattened to ``(B, D)``, by name.

    Raises:
        InputError: If the model has no latent, or one that is discrete or outside the data plate.
    """
    sites = sample_sites(poutine.trace(model).get_trace(x))
    return continuous({name: site for name, site in sites.items() if not site["is_observed"]}, len(x))


def continuous(latents: Mapping[str, Mapping[str, Any]], size: int) -> dict[str, Tensor]:
    """The values of a trace's latent sites, flattened to ``(B, D)``, by name.

    Raises:
        InputError: If there is no latent, or one that is discrete or outside the data plate.
    """
    if not latents:
        raise InputError("the model has no latent site: expected one such as pyro.sample('z', ...)")
    for name, site in latents.items():
        if site["fn"].support.is_discrete:
            raise InputError(
                f"the latent {name!r} is discrete, but this takes continuous latents only: "
                "give a model that marginalizes it, or one conditioned on it"
            )
    return flat({name: site["value"] for name, site in latents.items()}, (size,))


def flat(values: Mapping[str, Tensor], batch: tuple[int, ...]) -> dict[str, Tensor]:
    """Values of sites with the dimensions of one datum flattened, ``(*batch, D)`` by name.

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
    """Flattened values of sites, concatenated in the order of ``sites``."""
    return torch.cat([values[name] for name in sites], -1)


def _sampler(model: Callable[..., Any], x: Tensor) -> tuple[NUTS, dict[str, Tensor], dict[str, Any]]:
    """The kernel, initial values from the prior in unconstrained coordinates, and the transforms to them."""
    start, potential, transforms, _ = initialize_model(model, (x,), init_strategy=init_to_sample)
    if isinstance(model, LatentVariableModel) and type(model).forward is LatentVariableModel.forward:
        potential = _potential(model, x, transforms)
    return NUTS(potential_fn=potential), start, transforms


def _potential(
    model: LatentVariableModel, x: Tensor, transforms: Mapping[str, Any]
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The potential -log p(x, z) in unconstrained coordinates, as Pyro's but without a trace."""

    def potential(values: Mapping[str, Tensor]) -> Tensor:
        z = {site: transforms[site].inv(values[site]) for site in model.sites}
        volume = total(transforms[site].log_abs_det_jacobian(z[site], values[site]).sum() for site in model.sites)
        return volume - model.log_joint(x, *z.values()).sum()

    return potential
