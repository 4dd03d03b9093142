"""Where the gap between ELBO and log p(x) comes from: the guide's family, or its encoder."""

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
from pyro_vaes.evaluate.inputs import as_input, seeded
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES, log_weights
from pyro_vaes.evaluate.psis import pareto_k
from pyro_vaes.guides import Mixture
from pyro_vaes.losses import ELBO, Loss, MixtureELBO
from pyro_vaes.param_store import isolated
from pyro_vaes.vae import Guide
from pyro_vaes.validation import checked_sizes

Model = Callable[..., Any]
PARTICLES = 8  # draws a datum of the objective
LEARNING_RATE = 0.05  # of parameters that are free
CONFIDENCE = 2.0  # standard errors by which a bound must be the higher one
WHOLE_LEARNING_RATE = 0.003  # of a whole guide's weights, many of which move one output


@dataclass(frozen=True)
class InferenceGaps:
    """Log p(x) - ELBO of each datum in nats, split into what the family and what the encoder loses.

    Attributes:
        log_likelihood: the best lower bound of log p(x) that there is, shape ``(N,)``.
        elbo: that of the guide, shape ``(N,)``.
        best_elbo: that of the best member of the guide's family for each datum, shape ``(N,)``.
        pareto_k: k-hat of the guide's importance weights, shape ``(N,)``; above 0.7 a ``log_likelihood`` that came
            from them is not to be trusted. NaN where there are too few draws to tell.
        num_samples: draws a datum of each estimate.
    """

    log_likelihood: Tensor
    elbo: Tensor
    best_elbo: Tensor
    pareto_k: Tensor
    num_samples: int

    @property
    def approximation_gap(self) -> Tensor:
        """Log p(x) - best ELBO, what the family cannot reach, shape ``(N,)``."""
        return self.log_likelihood - self.best_elbo

    @property
    def amortization_gap(self) -> Tensor:
        """Best ELBO - ELBO, what the encoder loses against a posterior fitted to the datum, shape ``(N,)``."""
        return self.best_elbo - self.elbo

    @property
    def gap(self) -> Tensor:
        """Log p(x) - ELBO, the sum of the two, shape ``(N,)``."""
        return self.log_likelihood - self.elbo

    @property
    def unreliable(self) -> float:
        """Share of the data whose k-hat is above 0.7; NaN where there are too few draws to tell."""
        return torch.where(self.pareto_k.isnan(), torch.nan, (self.pareto_k > 0.7).double()).nanmean().item()

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean over the data and its standard error, of each quantity by name."""
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
    """The inference gap of each datum, split into approximation and amortisation gap.

    With q* the member of the guide's family that is best for one x, found by gradient ascent on the ELBO from what
    the guide gives::

        log p(x) - ELBO(q) = (log p(x) - ELBO(q*)) + (ELBO(q*) - ELBO(q)) = approximation + amortisation

    All data are optimized at once if the guide is made of ``local_parameters`` and a ``family``: q* is
    ``family(free, x)`` with free parameters of each datum, and all weights held. Of any other module, a copy is fitted
    as a whole to one datum after the other, which is slow.

    Both ELBOs are means of the same draws' log weights, under common random numbers, so that their difference has
    little noise; q* is q itself where the optimum's ELBO came out no higher. log p(x) is, for each datum, one of the
    importance-sampled bounds from q and from q*, and of the annealed one if given: the one that is highest when each
    is lowered by twice its standard error, since the plain maximum would lean upwards by the noise. What it falls
    short of log p(x), the approximation gap falls short too.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide, any module whose latents are reparameterised.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws a datum of each estimate.
        num_steps: number of optimisation steps, of which each takes 8 draws a datum (of a mixture, one a component).
        annealed: what ``annealed_importance_sampling`` gave for the same model and x.
        progress: whether to show a bar of the optimisation.

    Raises:
        InputError: for a guide without parameters that can be fitted by gradients, sizes below 1, data that the
            likelihood refuses, or annealed estimates of other data.

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
            "parameters can be optimised, such as a pyro_vaes Guide or an nn.Module of your own"
        )
    x = as_input(model, x)
    if annealed is not None and annealed.per_datum.shape != x.shape[:1]:
        raise InputError(f"annealed holds {len(annealed.per_datum)} estimates for {len(x)} data: give that of this x")
    starts, ends, khat = [], [], []
    with isolated():
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
    """What log weights say of each datum, all of shape ``(N,)``."""

    elbo: Tensor
    bound: Tensor  # log (1/S) Σ w
    error: Tensor  # its standard error, that of the mean weight relative to the mean


def _estimate(log_weights: Tensor) -> _Estimate:
    draws, bound = len(log_weights), log_mean_exp(log_weights)
    squares = ((log_weights - bound).exp() - 1).square().sum(0)
    return _Estimate(log_weights.mean(0), bound, (squares / (draws * (draws - 1))).sqrt())  # NaN of one draw


def _highest(estimates: Sequence[_Estimate]) -> Tensor:
    """Of each datum the bound that is highest beyond doubt; the plain maximum would pick the noise."""
    bounds = torch.stack([each.bound for each in estimates])
    sure = bounds - CONFIDENCE * torch.stack([each.error for each in estimates])
    return bounds.gather(0, sure.nan_to_num(nan=-math.inf).argmax(0, keepdim=True))[0]


def _seeded_weights(model: Model, guide: nn.Module, x: Tensor, num_samples: int, seed: int) -> Tensor:
    """Log weights from draws of this seed."""
    with seeded(seed, x.device):
        return log_weights(model, guide, x, num_samples).double().cpu()


def _width(x: Tensor, num_draws: int) -> int:
    """How many data one pass takes with so many draws each; ``log_weights`` splits no fewer."""
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
    """A few data at a time with the best members for them, all fitted at once."""
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
    """One datum after the other with a copy of the guide that was fitted to it alone; what is the model's is held."""
    shared = list(model.modules()) if isinstance(model, nn.Module) else []
    held = {parameter for module in shared for parameter in module.parameters()}
    with _bar(num_steps * len(x), progress) as bar:
        for datum in x.split(1):
            member = copy.deepcopy(guide, {id(module): module for module in shared})
            free = [value for value in member.parameters() if value.requires_grad and value not in held]
            if not free:
                raise InputError(
                    f"the guide {type(guide).__name__} has no parameters of its own: to fit it to each datum, "
                    "expected a module that registers what it learns"
                )
            _ascend(ELBO(PARTICLES), model, member, datum, free, WHOLE_LEARNING_RATE, num_steps, bar.update)
            yield datum, member


def _ascend(
    loss: Loss,
    model: Model,
    guide: nn.Module,
    x: Tensor,
    free: Sequence[Tensor],
    lr: float,
    num_steps: int,
    tick: Callable[[], Any],
) -> None:
    """Adam on the ELBO of each datum in what is free alone, its rate decaying to 0 along a cosine."""
    optimizer = torch.optim.Adam(free, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        value = loss.differentiable_loss(model, guide, x)
        if value.requires_grad:
            value.backward(inputs=free)
        if all(each.grad is None for each in free):
            raise InputError(
                f"no gradient of the ELBO reaches what {type(guide).__name__} computes from x: expected a guide that "
                "gradients run through; set guide.detach = False on a Laplace guide, and keep no PyroParam"
            )
        optimizer.step()
        schedule.step()
        tick()


def _bar(steps: int, progress: bool) -> Any:
    return tqdm(total=steps, desc="fitting posteriors", disable=not progress)
