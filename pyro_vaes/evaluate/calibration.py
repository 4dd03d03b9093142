"""Simulation-based calibration of a guide under its own model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn
from tqdm import tqdm

from pyro_vaes.evaluate.inputs import as_input, bound, check_simulated, evaluating, seeded
from pyro_vaes.evaluate.nuts_reference import continuous, joined
from pyro_vaes.evaluate.reference import guide_draws
from pyro_vaes.given import in_turn, split
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.traces import observed_site, sample_sites
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_whole

CREDIBILITIES = (0.5, 0.8, 0.95)
ORDERS = 4  # of the polynomials: location, scale, skewness, tails
CHUNK_DATA = 512


@dataclass(frozen=True)
class Calibration:
    """Ranks of simulated latents among draws of the guide, uniform on 0 ... L if q is the posterior.

    Attributes:
        ranks: number of draws below the latent that generated the datum, shape ``(N, Z)``.
        num_samples: number L of draws per datum.
    """

    ranks: Tensor
    num_samples: int

    @property
    def p_values(self) -> Tensor:
        """P-values of the uniformity of each dimension's ranks, shape ``(Z,)``."""
        return _smooth_test(self.ranks, self.num_samples)

    @property
    def adjusted(self) -> Tensor:
        """P-values with Holm's correction for the number of dimensions, shape ``(Z,)``."""
        ordered, order = self.p_values.sort()
        tests_left = torch.arange(len(ordered), 0, -1, device=ordered.device)
        return torch.empty_like(ordered).scatter(0, order, (tests_left * ordered).cummax(0).values.clamp(max=1))

    def calibrated(self, alpha: float = 0.01) -> bool:
        """Whether no dimension is rejected, in a test of size ``alpha`` for all dimensions together."""
        return bool((self.adjusted >= alpha).all())

    @property
    def coverage(self) -> dict[float, Tensor]:
        """Share of the data whose latent lies in the guide's central 50, 80 and 95 % intervals, each ``(Z,)``."""
        return {
            credibility: _inside(self.ranks, self.num_samples, credibility).mean(0) for credibility in CREDIBILITIES
        }

    @property
    def mean_coverage(self) -> dict[float, float]:
        """Coverage, averaged over dimensions."""
        return {credibility: share.mean().item() for credibility, share in self.coverage.items()}

    @property
    def coverage_stderr(self) -> dict[float, float]:
        """Standard error of the coverage of one dimension under an exact guide, binomial in N observations."""
        return {
            credibility: math.sqrt(credibility * (1 - credibility) / len(self.ranks)) for credibility in CREDIBILITIES
        }

    def describe(self) -> str:
        """Description of the test: numbers of draws and observations."""
        return (
            f"ranks among {self.num_samples} draws for each of {len(self.ranks)} observations simulated from the "
            "model, smooth test of uniformity, Holm's correction"
        )


@torch.no_grad()
def calibration(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    num_datasets: int = 1000,
    num_samples: int = 199,
    like: Tensor | None = None,
    seed: int = 0,
    progress: bool = False,
    *,
    y: Tensor | None = None,
) -> Calibration:
    """Simulation-based calibration: the rank of z* among L draws of q(z | x), with z* ~ p(z) and x ~ p(x | z*).

    The observed site is sampled from the model. Each dimension is tested by Neyman's smooth test, N Σ_k (mean φ_k)²
    against χ² with 4 degrees of freedom, with the orthonormal polynomials φ₁ … φ₄ on the possible ranks, which detect
    a shift, a wrong scale, skewness and wrong tails. The test assesses the guide on data from the model, which may
    differ from real data.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``, one of them observed.
        guide: its guide.
        num_datasets: number N of simulated observations.
        num_samples: number L of draws per observation.
        like: example data, for a model that needs more of x than its length; their values are not used.
        seed: seed of the simulation.
        progress: whether to show a progress bar.
        y: labels or conditions, ``(M, ...)``, that the simulated observations take in turn, for a model that takes
            them.

    Raises:
        InputError: If a latent is discrete, there is not exactly one observed site, a number is too small for the
            test, or the likelihood has size factors.

    References:
        Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts, Betancourt, Simpson,
        Vehtari, Gelman, 2018);
        "Smooth Test" for Goodness of Fit (Neyman, 1937);
        A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979).

    Example:
        >>> result = calibration(vae, guide, num_datasets=200)
        >>> result.ranks.shape, result.calibrated()
        (torch.Size([200, 2]), False)
    """
    for name, value, least in (("num_datasets", num_datasets, 100), ("num_samples", num_samples, 9)):
        check_whole(name, value, least)
    check_simulated(model)
    placeholder = _placeholder(model, like)
    x = placeholder.expand(num_datasets, *placeholder.shape[1:])
    owners = bound(placeholder if y is None else x[: len(y)], y, model, guide)
    batches = list(split(CHUNK_DATA, x, *(in_turn(owner, num_datasets) for owner in owners)))
    with evaluating(model, guide), seeded(seed, placeholder.device):
        ranks = [
            _ranks(view, start, batch, num_samples)
            for batch, view, start in tqdm(batches, desc="calibration", disable=not progress)
        ]
    return Calibration(torch.cat(ranks).cpu(), num_samples)


def _placeholder(model: Callable[..., Any], like: Tensor | None) -> Tensor:
    """Placeholder for the model's argument x, of one datum; if ``like`` is None, a scalar where no shape is known."""
    if like is not None:
        return as_input(model, like)[:1]
    reference = reference_weight(model) if isinstance(model, nn.Module) else torch.zeros(0)
    return reference.new_zeros(1, *(model.event_shape if isinstance(model, LatentVariableModel) else ()))


def _ranks(model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, num_samples: int) -> Tensor:
    """Ranks of the latents of B simulated observations, ``(B, Z)``."""
    sites = sample_sites(poutine.trace(poutine.uncondition(model)).get_trace(x))
    simulated = sites.pop(observed_site(sites))["value"]
    latents = continuous(sites, len(x))
    sizes = {name: value.shape[-1] for name, value in latents.items()}
    return (guide_draws(guide, simulated, num_samples, sizes) < joined(latents, sizes)).sum(0)


def _smooth_test(ranks: Tensor, num_samples: int) -> Tensor:
    """P-values of Neyman's smooth test that ranks ``(N, Z)`` are uniform on 0 ... L, shape ``(Z,)``."""
    grid = torch.linspace(-1, 1, num_samples + 1, dtype=torch.float64, device=ranks.device)
    powers = grid.unsqueeze(-1) ** torch.arange(ORDERS + 1, device=ranks.device)
    polynomials = torch.linalg.qr(powers).Q[:, 1:] * math.sqrt(num_samples + 1)
    statistic = len(ranks) * polynomials[ranks].mean(0).square().sum(-1)
    return torch.special.gammaincc(torch.full_like(statistic, ORDERS / 2), statistic / 2)


def _inside(ranks: Tensor, num_samples: int, credibility: float) -> Tensor:
    """Share of each rank's cell [r, r + 1] / (L + 1) inside the central interval, which is exact for every L."""
    low, high = (num_samples + 1) * (1 - credibility) / 2, (num_samples + 1) * (1 + credibility) / 2
    cells = ranks.double()
    return ((cells + 1).clamp(max=high) - cells.clamp(min=low)).clamp(min=0)
