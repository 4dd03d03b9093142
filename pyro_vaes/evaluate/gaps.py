"""Decomposition of the gap between log p(x) and ELBO into approximation gap and amortization gap."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.annealing import AnnealedLikelihood
from pyro_vaes.evaluate.estimate import log_mean_exp
from pyro_vaes.evaluate.inputs import as_input, evaluating, seeded
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES, log_weights
from pyro_vaes.evaluate.psis import pareto_k
from pyro_vaes.guides import Mixture
from pyro_vaes.losses import ELBO, Loss, MixtureELBO
from pyro_vaes.vae import Guide
from pyro_vaes.validation import checked_sizes

Model = Callable[..., Any]
PARTICLES = 8  # draws per datum of the objective
LEARNING_RATE = 0.05  # of local parameters
GUIDE_LEARNING_RATE = 0.003  # of the weights of a whole guide, many of which affect each output
CONFIDENCE = 2.0  # standard errors subtracted from a bound in the choice of the highest


@dataclass(frozen=True)
class InferenceGaps:
    """The gap log p(x) - ELBO of each datum in nats, split into approximation gap and amortization gap.

    Attributes:
        log_likelihood: the best available lower bound of log p(x), shape ``(N,)``.
        elbo: ELBO of the guide, shape ``(N,)``.
        best_elbo: ELBO of the best member of the guide's family for each datum, shape ``(N,)``.
        pareto_k: k-hat of the guide's importance weights, shape ``(N,)``; above 0.7 a ``log_likelihood`` computed
            from them is unreliable. NaN if there are too few draws.
        num_samples: number of draws per datum of each estimate.
    """

    log_likelihood: Tensor
    elbo: Tensor
    best_elbo: Tensor
    pareto_k: Tensor
    num_samples: int

    @property
    def approximation_gap(self) -> Tensor:
        """log p(x) - best ELBO, due to the limited variational family, shape ``(N,)``."""
        return self.log_likelihood - self.best_elbo

    @property
    def amortization_gap(self) -> Tensor:
        """best ELBO - ELBO, due to an encoder in place of a posterior fitted to each datum, shape ``(N,)``."""
        return self.best_elbo - self.elbo

    @property
    def gap(self) -> Tensor:
        """log p(x) - ELBO, the sum of both gaps, shape ``(N,)``."""
        return self.log_likelihood - self.elbo

    @property
    def unreliable(self) -> float:
        """Share of the data whose k-hat is above 0.7; NaN if there are too few draws."""
        return torch.where(self.pareto_k.isnan(), torch.nan, (self.pareto_k > 0.7).double()).nanmean().item()

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean over the data and its standard error, for each quantity by name."""
        names = ("log_likelihood", "elbo", "best_elbo", "approximation_gap", "amortization_gap", "gap")
        values: dict[str, Tensor] = {name: getattr(self, name) for name in names}
        return {
            name: (value.mean().item(), (value.std() / math.sqrt(len(value))).item()) for name, value in values.items()
        }


def inference_gaps(
    model: Model,
    guide: nn.Module,
    x: Tensor,
    num_samples: int = 1000,
    num_steps: int = 300,
    annealed: AnnealedLikelihood | None = None,
    progress: bool = False,
) -> InferenceGaps:
    """The inference gap of each datum, split into approximation and amortization gap.

    With q* the best member of the guide's family for one x, found by gradient ascent on the ELBO from q(z | x)::

        log p(x) - ELBO(q) = (log p(x) - ELBO(q*)) + (ELBO(q*) - ELBO(q)) = approximation + amortization

    All data are optimized at once if the guide is made of ``local_parameters`` and a ``family``: q* is
    ``family(free, x)`` with free parameters of each datum, and all weights fixed. For any other module, a copy of the
    guide is fitted to one datum after another, which is slow.

    Both ELBOs are means of the same log weights as the bounds, with common random numbers, which reduces the noise of
    their difference; q* is q itself if the optimization did not improve the ELBO. The estimate of log p(x) is, for
    each datum, one of the importance-sampled bounds from q and q*, or the annealed one if given: the one that is
    highest after subtraction of twice its standard error, since the plain maximum is biased upward. As a lower bound
    of log p(x) it makes the approximation gap a lower bound too.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide, any module whose latents are reparameterized.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per datum of each estimate.
        num_steps: number of optimization steps, each with 8 draws per datum (for a mixture, one per component).
        annealed: estimate by ``annealed_importance_sampling`` for the same model and x.
        progress: whether to show a progress bar of the optimization.

    Raises:
        InputError: If the guide has no parameters that can be fitted by gradients, a size is below 1, the likelihood
            refuses the data, or the annealed estimates are of other data.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer, Li, Duvenaud, ICML 2018).

    Example:
        >>> gaps = inference_gaps(vae, guide, x, num_samples=100, num_steps=20)
        >>> gaps.approximation_gap.shape, bool((gaps.amortization_gap >= 0).all())
        (torch.Size([4]), True)
    """
    checked_sizes(num_samples=(num_samples,), num_steps=(num_steps,))
    if not isinstance(guide, nn.Module):
        raise InputError(
            f"the guide is a {type(guide).__name__}: to fit a posterior to each datum, expected a torch module whose "
            "parameters can be optimized, such as a pyro_vaes Guide or any nn.Module"
        )
    x = as_input(model, x)
    if annealed is not None and annealed.per_datum.shape != x.shape[:1]:
        raise InputError(
            f"annealed holds {len(annealed.per_datum)} estimates for {len(x)} observations: give those of this x"
        )
    starts, ends, khat = [], [], []
    with evaluating(model, guide):
        if isinstance(guide, Guide) and _has_family(model, guide, x[:1]):
            members = _local_members(model, guide, x, num_steps, _width(x, num_samples), progress)
        else:
            members = _fitted_members(model, guide, x, num_steps, progress)
        for batch, member in members:
            seed = int(torch.randint(2**62, ()))
            weights = _seeded_weights(model, guide, batch, num_samples, seed)
            starts.append(_estimate(weights))
            khat.append(pareto_k(weights))
            ends.append(_estimate(_seeded_weights(model, member, batch, num_samples, seed)))
    start, end = (_Estimate(*map(torch.cat, zip(*each, strict=True))) for each in (starts, ends))
    return InferenceGaps(
        log_likelihood=_highest([start, end] if annealed is None else [start, end, _estimate(annealed.log_weights)]),
        elbo=start.elbo,
        best_elbo=torch.fmax(start.elbo, end.elbo),
        pareto_k=torch.cat(khat),
        num_samples=num_samples,
    )


class _Estimate(NamedTuple):
    """Estimates from the log weights of each datum, all of shape ``(N,)``."""

    elbo: Tensor
    bound: Tensor  # log (1/S) Σ w
    error: Tensor  # standard error of the bound: that of the mean weight, relative to the mean


def _estimate(log_weights: Tensor) -> _Estimate:
    draws, bound = len(log_weights), log_mean_exp(log_weights)
    squares = ((log_weights - bound).exp() - 1).square().sum(0)
    return _Estimate(log_weights.mean(0), bound, (squares / (draws * (draws - 1))).sqrt())  # NaN of one draw


def _highest(estimates: Sequence[_Estimate]) -> Tensor:
    """The bound of each datum with the highest lower confidence limit, since the plain maximum is biased upward."""
    bounds = torch.stack([each.bound for each in estimates])
    limits = bounds - CONFIDENCE * torch.stack([each.error for each in estimates])
    return bounds.gather(0, limits.nan_to_num(nan=-math.inf).argmax(0, keepdim=True))[0]


def _seeded_weights(model: Model, guide: nn.Module, x: Tensor, num_samples: int, seed: int) -> Tensor:
    """Log weights of draws with this seed."""
    with seeded(seed, x.device):
        return log_weights(model, guide, x, num_samples).double().cpu()


def _width(x: Tensor, num_draws: int) -> int:
    """Number of observations per pass for this number of draws, such that ``log_weights`` does not split them."""
    return max(1, CHUNK_VALUES // (x[0].numel() * num_draws))


def _has_family(model: Model, guide: Guide, x: Tensor) -> bool:
    """Whether a guide's posteriors are made of its local parameters, so that these can be optimized for each datum."""
    try:
        free = _free_parameters(guide, x)
    except (NotImplementedError, AttributeError):  # it has none
        return False
    value = ELBO().differentiable_loss(model, guide.with_local_parameters(free), x)
    reached = torch.autograd.grad(value, free, allow_unused=True) if value.requires_grad else ()
    return any(gradient is not None for gradient in reached)


@torch.no_grad()
def _free_parameters(guide: Guide, x: Tensor) -> tuple[Tensor, ...]:
    """Parameters of each datum to optimize, which start at those that the guide gives."""
    return tuple(each.clone().requires_grad_() for each in guide.local_parameters(x))


def _local_members(
    model: Model, guide: Guide, x: Tensor, num_steps: int, width: int, progress: bool
) -> Iterator[tuple[Tensor, nn.Module]]:
    """Batches of at most ``width`` observations with their best members, fitted by local parameters."""
    loss: Loss = MixtureELBO() if isinstance(guide, Mixture) else ELBO(PARTICLES)
    batches = x.split(_width(x, PARTICLES))
    with _bar(num_steps * len(batches), progress) as bar:
        for batch in batches:
            free = _free_parameters(guide, batch)
            _ascend(loss, model, guide.with_local_parameters(free), batch, free, LEARNING_RATE, num_steps, bar.update)
            parts = zip(*(each.detach().split(width) for each in free), strict=True)
            for few, part in zip(batch.split(width), parts, strict=True):
                yield few, guide.with_local_parameters(part)


def _fitted_members(
    model: Model, guide: nn.Module, x: Tensor, num_steps: int, progress: bool
) -> Iterator[tuple[Tensor, nn.Module]]:
    """Single observations with a copy of the guide fitted to each; parameters of the model are fixed."""
    shared = list(model.modules()) if isinstance(model, nn.Module) else []
    fixed = {parameter for module in shared for parameter in module.parameters()}
    with _bar(num_steps * len(x), progress) as bar:
        for datum in x.split(1):
            member = copy.deepcopy(guide, {id(module): module for module in shared})
            free = [value for value in member.parameters() if value.requires_grad and value not in fixed]
            if not free:
                raise InputError(
                    f"the guide {type(guide).__name__} has no parameters of its own: to fit it to each datum, "
                    "expected a module that registers its parameters"
                )
            _ascend(ELBO(PARTICLES), model, member, datum, free, GUIDE_LEARNING_RATE, num_steps, bar.update)
            yield datum, member


def _ascend(
    loss: Loss,
    model: Model,
    guide: nn.Module,
    x: Tensor,
    free: Sequence[Tensor],
    lr: float,
    num_steps: int,
    on_step: Callable[[], Any],
) -> None:
    """Maximize the ELBO in the free parameters by Adam, with a cosine schedule of the learning rate to 0."""
    optimizer = torch.optim.Adam(free, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        value = loss.differentiable_loss(model, guide, x)
        if value.requires_grad:
            value.backward(inputs=free)
        if all(each.grad is None for each in free):
            raise InputError(
                f"no gradient of the ELBO reaches the outputs of {type(guide).__name__} at x: expected a guide with "
                "gradients; set guide.detach = False on a Laplace guide, and use no PyroParam"
            )
        optimizer.step()
        schedule.step()
        on_step()


def _bar(steps: int, progress: bool) -> Any:
    return tqdm(total=steps, desc="fitting posteriors", disable=not progress)
