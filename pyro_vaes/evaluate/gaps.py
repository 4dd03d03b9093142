"""Decomposition of the gap between log p(x) and ELBO into approximation gap and amortization gap."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_inputs, evaluating, seeded
from pyro_vaes.evaluate.log_weights import CHUNK_VALUES, log_weights
from pyro_vaes.evaluate.marginal.estimate import MarginalLogLikelihood, marginal_log_likelihood
from pyro_vaes.evaluate.psis import pareto_k, unreliable_share
from pyro_vaes.given import split
from pyro_vaes.guides import Mixture
from pyro_vaes.losses import ELBO, Loss, MixtureELBO
from pyro_vaes.vae import Guide
from pyro_vaes.validation import checked_sizes

Model = Callable[..., Any]
PARTICLES = 8  # draws per datum of the objective
LEARNING_RATE = 0.05  # of local parameters
GUIDE_LEARNING_RATE = 0.003  # of the weights of a whole guide, many of which affect each output


@dataclass(frozen=True)
class InferenceGaps:
    """The gap log p(x) - ELBO of each datum in nats, split into approximation gap and amortization gap.

    Attributes:
        log_likelihood: log p(x) of the model, shape ``(N,)``.
        elbo: ELBO of the guide, shape ``(N,)``.
        best_elbo: ELBO of the best member of the guide's family for each datum, shape ``(N,)``.
        pareto_k: k-hat of the estimate of log p(x), shape ``(N,)``; above 0.7 it is unreliable, and with it the gap and
            the approximation gap.
        guide_pareto_k: k-hat of the guide's own importance weights, shape ``(N,)``, a diagnostic of the guide on which
            none of these figures depends; above 0.7 it misses mass of the posterior. NaN if there are too few draws.
        num_samples: number of draws per datum of each ELBO.
    """

    log_likelihood: Tensor
    elbo: Tensor
    best_elbo: Tensor
    pareto_k: Tensor
    guide_pareto_k: Tensor
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
        """Share of the data whose estimate of log p(x) has a k-hat above 0.7."""
        return unreliable_share(self.pareto_k)

    @property
    def guide_unreliable(self) -> float:
        """Share of the data for which the guide's weights have a k-hat above 0.7; NaN if there are too few draws."""
        return unreliable_share(self.guide_pareto_k)

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
    log_likelihood: MarginalLogLikelihood | None = None,
    progress: bool = False,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> InferenceGaps:
    """The inference gap of each datum, split into approximation and amortization gap.

    With q* the best member of the guide's family for one x, found by gradient ascent on the ELBO from q(z | x)::

        log p(x) - ELBO(q) = (log p(x) - ELBO(q*)) + (ELBO(q*) - ELBO(q)) = approximation + amortization

    All data are optimized at once if the guide is made of ``local_parameters`` and a ``family``: q* is
    ``family(free, x)`` with free parameters of each datum, and all weights fixed. For any other module, a copy of the
    guide is fitted to one datum after another, which is slow.

    log p(x) is that of the model, by ``marginal_log_likelihood``, which depends on the quality of no guide. Both ELBOs
    are means of log weights with common random numbers, which reduces the noise of their difference; q* is q itself
    if the optimization did not improve the ELBO.

    Args:
        model: a Pyro model whose sites lie inside ``pyro.plate("data", B)``.
        guide: its guide, any module whose latents are reparameterized.
        x: the data, ``(N, *event_shape)``.
        num_samples: number S of draws per datum of each ELBO.
        num_steps: number of optimization steps, each with 8 draws per datum (for a mixture, one per component).
        log_likelihood: log p(x) by ``marginal_log_likelihood`` for the same model and x; by default it is estimated
            here, with 1,000 draws per datum and round.
        progress: whether to show a progress bar of the optimization.
        y: labels or conditions of x, ``(N, ...)``, for a model that takes them.
        mask: True where x was seen, of its shape; the gaps are then those of log p(x_seen).

    Raises:
        InputError: If the guide has no parameters that can be fitted by gradients, a size is below 1, the likelihood
            refuses the data, or ``log_likelihood`` is no such estimate or one of another number of data.

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
    x, model, guide = as_inputs(x, y, model, guide, mask=mask)
    if log_likelihood is not None:
        _check_estimate(log_likelihood, x)
    starts, ends, khat = [], [], []
    with evaluating(model, guide, x=x):
        if isinstance(guide, Guide) and _has_family(*next(split(1, x, model, guide))):
            members = _local_members(model, guide, x, num_steps, _width(x, num_samples), progress)
        else:
            members = _fitted_members(model, guide, x, num_steps, progress)
        for batch, view, start, member in members:
            seed = int(torch.randint(2**62, ()))
            weights = _seeded_weights(view, start, batch, num_samples, seed)
            starts.append(weights.mean(0))
            khat.append(pareto_k(weights))
            ends.append(_seeded_weights(view, member, batch, num_samples, seed).mean(0))
        log_p = log_likelihood or marginal_log_likelihood(model, x, guide, progress=progress)
    elbo = torch.cat(starts)
    return InferenceGaps(
        log_likelihood=log_p.per_datum.double(),
        elbo=elbo,
        best_elbo=torch.fmax(elbo, torch.cat(ends)),
        pareto_k=log_p.pareto_k,
        guide_pareto_k=torch.cat(khat),
        num_samples=num_samples,
    )


def _check_estimate(estimate: object, x: Tensor) -> None:
    """Refuse what is no estimate of the model's log p(x) of these data."""
    if not isinstance(estimate, MarginalLogLikelihood):
        raise InputError(
            f"log_likelihood is a {type(estimate).__name__}: expected what marginal_log_likelihood(model, x) returns, "
            "an estimate of the model's log p(x) that depends on no guide"
        )
    if estimate.per_datum.shape != x.shape[:1]:
        raise InputError(
            f"log_likelihood holds {len(estimate.per_datum)} estimates for {len(x)} observations: give those of this x"
        )


def _seeded_weights(model: Model, guide: nn.Module, x: Tensor, num_samples: int, seed: int) -> Tensor:
    """Log weights of draws with this seed."""
    with seeded(seed, x.device):
        return log_weights(model, guide, x, num_samples).double().cpu()


def _width(x: Tensor, num_draws: int) -> int:
    """Number of observations per pass for this number of draws, such that ``log_weights`` does not split them."""
    return max(1, CHUNK_VALUES // (x[0].numel() * num_draws))


def _has_family(x: Tensor, model: Model, guide: Guide) -> bool:
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
) -> Iterator[tuple[Any, ...]]:
    """Batches of at most ``width`` observations with model and guide, and best members by local parameters."""
    loss: Loss = MixtureELBO() if isinstance(guide, Mixture) else ELBO(PARTICLES)
    batches = list(split(_width(x, PARTICLES), x, model, guide))
    with _bar(num_steps * len(batches), progress) as bar:
        for batch, view, start in batches:
            free = _free_parameters(start, batch)
            _ascend(loss, view, start.with_local_parameters(free), batch, free, LEARNING_RATE, num_steps, bar.update)
            parts = zip(*(each.detach().split(width) for each in free), strict=True)
            for few, part in zip(split(width, batch, view, start), parts, strict=True):
                yield *few, few[2].with_local_parameters(part)


def _fitted_members(
    model: Model, guide: nn.Module, x: Tensor, num_steps: int, progress: bool
) -> Iterator[tuple[Any, ...]]:
    """Single observations with model and guide, and a copy of it fitted to each; the model's parameters are fixed."""
    shared = list(model.modules()) if isinstance(model, nn.Module) else []
    fixed = {parameter for module in shared for parameter in module.parameters()}
    with _bar(num_steps * len(x), progress) as bar:
        for datum, view, start in split(1, x, model, guide):
            member = copy.deepcopy(start, {id(module): module for module in (*shared, view)})
            free = [value for value in member.parameters() if value.requires_grad and value not in fixed]
            if not free:
                raise InputError(
                    f"the guide {type(guide).__name__} has no parameters of its own: to fit it to each datum, "
                    "expected a module that registers its parameters"
                )
            _ascend(ELBO(PARTICLES), view, member, datum, free, GUIDE_LEARNING_RATE, num_steps, bar.update)
            yield datum, view, start, member


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
