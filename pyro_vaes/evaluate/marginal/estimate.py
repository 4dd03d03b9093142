"""The estimate of log p(x) and its parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.estimate import PerDatum
from pyro_vaes.evaluate.inputs import as_inputs, evaluating, seeded
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES
from pyro_vaes.evaluate.marginal.adapt import adapt
from pyro_vaes.evaluate.marginal.bridge import NUM_CHAINS, annealed_mean
from pyro_vaes.evaluate.marginal.chunks import Chunks
from pyro_vaes.evaluate.marginal.draws import Sampler
from pyro_vaes.evaluate.marginal.modes import propose
from pyro_vaes.evaluate.marginal.target import ModelTarget, Target
from pyro_vaes.evaluate.marginal.traced import TracedTarget
from pyro_vaes.evaluate.psis import unreliable_share
from pyro_vaes.given import take
from pyro_vaes.vae import LatentVariableModel
from pyro_vaes.validation import check_seed, check_whole

BLOCK_VALUES = 2**19  # coordinates of the draws of one round that are held at once
MOST_CHUNKS = 1_000_003  # seeds of chunks of one seed differ from those of another
FEWEST_SAMPLES = 100  # with fewer there is no telling how heavy the weights' tail is
METHODS = ("importance sampling", "adaptive importance sampling", "annealed importance sampling")


@dataclass(frozen=True)
class MarginalLogLikelihood(PerDatum):
    """An estimate of the model's log p(x), in nats, with its diagnostics.

    Attributes:
        per_datum: log p(x), shape ``(N,)``.
        per_datum_stderr: standard errors of the estimates, shape ``(N,)``.
        pareto_k: k-hat of the weights' tail, shape ``(N,)``; above 0.7 the estimate cannot be trusted.
        effective_samples: (Σ w)² / Σ w², shape ``(N,)``.
        method: what gave each estimate, N of ``"importance sampling"`` (from the modes), ``"adaptive importance
            sampling"`` and ``"annealed importance sampling"``.
        num_samples: number S of draws per datum.
    """

    per_datum: Tensor
    per_datum_stderr: Tensor
    pareto_k: Tensor
    effective_samples: Tensor
    method: tuple[str, ...]
    num_samples: int

    @property
    def unreliable(self) -> float:
        """Share of the data whose k-hat is above 0.7."""
        return unreliable_share(self.pareto_k)

    def take(self, rows: Tensor) -> MarginalLogLikelihood:
        """The estimate of some of the data."""
        names = ("per_datum", "per_datum_stderr", "pareto_k", "effective_samples")
        method = tuple(self.method[row] for row in rows.tolist())
        return replace(self, method=method, **{name: getattr(self, name)[rows] for name in names})

    def describe(self) -> str:
        """Estimator, number of samples and data in words."""
        counts = ", ".join(f"{self.method.count(name)} by {name}" for name in METHODS if name in self.method)
        return f"marginal log-likelihood of {len(self.per_datum)} data ({counts}), {self.num_samples} samples each"


def marginal_log_likelihood(
    model: Callable[..., Any],
    x: Tensor,
    guide: Callable[..., Any] | None = None,
    num_samples: int = 1000,
    *,
    tolerance: float = 0.05,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> MarginalLogLikelihood:
    """Log p(x) of a model, by importance sampling from proposals that are made for each datum.

    Unlike ``log_likelihood``, whose proposal is the guide, this depends on no guide's quality, so that models can be
    compared by it. For each datum:

    1. ascents of log p(x, z) from draws of the prior, and of the guide if there is one, end in modes of p(z | x);
    2. a Student-t distribution at each distinct mode, with the curvature there, and a few draws from the prior and
       the guide, make a mixture;
    3. its draws, weighed by p(x, z) / q(z), give it better means and covariances, until k-hat is at most 0.7 and the
       standard error within ``tolerance``;
    4. fresh draws of that proposal, now held, give the estimate: E[w] = p(x) exactly;
    5. where k-hat stays above 0.7, chains of annealed importance sampling go on from the proposal.

    All latents go in as one vector, and the library's models sum their clusters out. Latents of a model of your own
    are continuous; bounded ones are moved to where they have no bounds. Memory is bounded: few data at a time.

    Args:
        model: one of the library's models, or a Pyro model whose sites lie inside ``pyro.plate("data", B)`` and take
            one more dimension of draws to the left of it.
        x: the data, ``(N, *event_shape)``.
        guide: a guide of the model, which may help to find modes.
        num_samples: number S of draws per datum and round.
        tolerance: standard error of a datum's estimate, in nats, above which its proposal is adapted further.
        seed: seed of all draws; torch's global random state is left as it was.
        out: folder for finished chunks of the data, from which the same call goes on after an interruption; None keeps
            none.
        progress: whether to show a bar.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the estimate is then log p(x_seen).

    Raises:
        InputError: If the model has discrete latents or sites outside the plate, the guide has other latents than the
            model, an argument is out of range, the likelihood refuses the data, or ``out`` is given for a model or
            guide that is no module.

    References:
        Adaptive Multiple Importance Sampling (Cornuet, Marin, Mira, Robert, 2012);
        Safe and Effective Importance Sampling (Owen, Zhou, 2000);
        Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao, Gabry, 2024);
        Annealed Importance Sampling (Neal, 2001).

    Example:
        >>> estimate = marginal_log_likelihood(vae, x)
        >>> estimate.per_datum.shape, estimate.unreliable, bool((estimate.per_datum_stderr < 0.05).all())
        (torch.Size([4]), 0.0, True)
    """
    check_whole("num_samples", num_samples, FEWEST_SAMPLES)
    check_seed(seed)
    if not tolerance > 0:
        raise InputError(f"tolerance is {tolerance!r}: expected a positive number of nats, such as 0.05")
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    chunks = []
    settings = {"num_samples": num_samples, "tolerance": tolerance, "seed": seed}
    kept = None if out is None else Chunks(out, x, [model, guide], **settings)
    with evaluating(model, guide, x=x), seeded(seed, x.device), torch.no_grad(), _bar(len(x), progress) as bar:
        target = _target(model, x)
        width = max(1, BLOCK_VALUES // (num_samples * target.latent_dim))
        for number, index in enumerate(torch.arange(len(x), device=x.device).split(width)):
            chunk = kept.read(number) if kept else None
            if chunk is None:
                torch.manual_seed(seed * MOST_CHUNKS + number)
                found = _estimate(Sampler(target.take(index), take(guide, index)), num_samples, tolerance)
                chunk = tuple(each.cpu() for each in found)
                if kept:
                    kept.write(number, chunk)
            chunks.append(chunk)
            bar.update(len(index))
    log_p, stderr, khat, effective, method = (torch.cat(each) for each in zip(*chunks, strict=True))
    return MarginalLogLikelihood(
        log_p, stderr, khat, effective, tuple(METHODS[number] for number in method.tolist()), num_samples
    )


def _target(model: Callable[..., Any], x: Tensor) -> Target:
    return ModelTarget(model, x) if isinstance(model, LatentVariableModel) else TracedTarget(model, x)


def _estimate(sampler: Sampler, num_samples: int, tolerance: float) -> tuple[Tensor, ...]:
    """Log p(x), standard error, k-hat, effective samples and number of the method, ``(B,)`` each."""
    mixture, estimate, rounds = adapt(sampler, propose(sampler), num_samples, tolerance)
    method = rounds.clamp(max=1)
    few = max(1, CHUNK_VALUES // (sampler.target.x[0].numel() * NUM_CHAINS))
    for index in filter(len, (~estimate.reliable).nonzero()[:, 0].split(few)):
        annealed = annealed_mean(sampler.target.take(index), mixture.take(index))
        better = annealed.pareto_k < estimate.pareto_k[index]
        estimate.put(index[better], annealed.take(better))
        method[index[better]] = 2
    return estimate.log_p, estimate.stderr, estimate.pareto_k, estimate.effective_samples, method


def _bar(size: int, progress: bool) -> Any:
    return tqdm(total=size, unit=" data", disable=not progress, mininterval=0.5)
