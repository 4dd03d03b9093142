"""Schedules of the learning rate, by name with options such as ``cosine(warmup=500)``, or functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from pyro_vaes.errors import InputError, look_up, shown
from pyro_vaes.recipes.options import apply_options
from pyro_vaes.recipes.spec import parse
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import TrainingState
from pyro_vaes.validation import check_positive, check_whole

#: Factor of the learning rate at a gradient step, counted from 0.
LRSchedule = Callable[[int], float]


class Constant:
    """Linear warm-up to the learning rate, which then stays.

    In the first ``warmup`` gradient steps t = 0, 1, … the factor of the learning rate is (t + 1) / warmup.

    Args:
        num_steps: gradient steps of the training.
        warmup: gradient steps of the warm-up.

    Raises:
        InputError: If the warm-up is not shorter than the training.

    References:
        Accurate, Large Minibatch SGD (Goyal et al., 2017).

    Example:
        >>> [Constant(num_steps=100, warmup=4)(step) for step in (0, 1, 3, 4, 99)]
        [0.25, 0.5, 1.0, 1.0, 1.0]
    """

    def __init__(self, num_steps: int, warmup: int = 0) -> None:
        self.num_steps, self.warmup = num_steps, check_whole("warmup", warmup, least=0)
        if warmup >= num_steps:
            raise InputError(
                f"warmup is {warmup} gradient steps, but the training has {num_steps}: expected fewer, or more epochs"
            )

    def __call__(self, step: int) -> float:
        """The factor of the learning rate at a step."""
        return (step + 1) / self.warmup if step < self.warmup else self.after_warmup(step)

    def after_warmup(self, step: int) -> float:
        """The factor of the learning rate at a step after the warm-up."""
        return 1.0


class Cosine(Constant):
    """Linear warm-up, then a half cosine down to the end of the training.

    With T gradient steps, w of them of the warm-up, the factor of the learning rate at a step t ≥ w is::

        m + (1 - m) (1 + cos(π (t - w) / (T - w))) / 2

    Args:
        num_steps: gradient steps T of the training, those of all ``epochs``.
        warmup: gradient steps w of the warm-up.
        min_factor: the factor m at the end.

    Raises:
        InputError: If the warm-up is not shorter than the training, or the factor not from 0 to 1.

    References:
        SGDR: Stochastic Gradient Descent with Warm Restarts (Loshchilov, Hutter, 2017).

    Example:
        >>> [round(Cosine(num_steps=100)(step), 3) for step in (0, 25, 50, 99)]
        [1.0, 0.854, 0.5, 0.0]
    """

    def __init__(self, num_steps: int, warmup: int = 0, min_factor: float = 0.0) -> None:
        super().__init__(num_steps, warmup)
        self.min_factor = _check_min_factor(min_factor)

    def after_warmup(self, step: int) -> float:
        """The factor of the learning rate at a step after the warm-up."""
        progress = min((step - self.warmup) / (self.num_steps - self.warmup), 1.0)
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * progress)) / 2


class Plateau(Constant, Callback):
    """Linear warm-up, then a learning rate that is reduced whenever the validation ELBO no longer rises.

    After ``patience`` epochs without a rise of ``valid_elbo`` above its highest value, and again after as many more, it
    is multiplied by ``factor``. The history decides, so that a resumed training has the learning rate of the whole one.
    Epochs up to ``cluster_epoch`` do not count. In between it decays by a constant factor per gradient step.

    Args:
        num_steps: gradient steps of the training.
        factor: factor of each reduction.
        patience: epochs without a rise.
        min_factor: the smallest factor of all reductions together.
        warmup: gradient steps of the warm-up.
        decay: factor per gradient step, beside that of the reductions.
        end: number of reductions with which the training ends; None for no such end.

    Raises:
        InputError: If the warm-up is not shorter than the training, or another argument is out of range.

    Example:
        >>> schedule = Plateau(num_steps=100, factor=0.5, patience=2)
        >>> [schedule.reduced([1.0, 3.0, 2.0, 3.0, 2.0, 2.0][:epochs]) for epochs in (2, 3, 4, 5, 6)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self,
        num_steps: int,
        factor: float = 0.5,
        patience: int = 5,
        min_factor: float = 0.0,
        warmup: int = 0,
        decay: float = 1.0,
        end: int | None = None,
    ) -> None:
        super().__init__(num_steps, warmup)
        self.decay = check_positive("decay", decay, "a factor per gradient step, up to 1", below=math.nextafter(1, 2))
        self.end = None if end is None else check_whole("end", end)
        self.factor = check_positive("factor", factor, "a number between 0 and 1, such as 0.5", below=1)
        self.patience, self.min_factor = check_whole("patience", patience), _check_min_factor(min_factor)
        self.current = 1.0

    def after_warmup(self, step: int) -> float:
        """The factor of the learning rate at a step after the warm-up."""
        return self.current * self.decay**step

    def reduced(self, valid_elbos: list[float]) -> float:
        """The factor of the reductions after epochs of these validation ELBOs."""
        return max(self.factor ** self.reductions(valid_elbos), self.min_factor)

    def reductions(self, valid_elbos: list[float]) -> int:
        """The number of reductions after epochs of these validation ELBOs."""
        best, flat, count = -math.inf, 0, 0
        for value in valid_elbos:
            best, flat = (value, 0) if value > best else (best, flat + 1)
            if flat == self.patience:
                count, flat = count + 1, 0
        return count

    def on_start(self, state: TrainingState) -> None:
        """Reduce the learning rate of a resumed training as its history says, or end it."""
        valid_elbos = [row["valid_elbo"] for row in state.history[state.cluster_epoch :]]
        self.current = self.reduced(valid_elbos)
        state.stop = state.stop or (self.end is not None and self.reductions(valid_elbos) >= self.end)

    def on_epoch_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Reduce the learning rate if the validation ELBO has not risen."""
        self.on_start(state)


#: Schedules of the learning rate by name.
LR_SCHEDULES: dict[str, type[Constant]] = {"constant": Constant, "cosine": Cosine, "plateau": Plateau}


def build_lr_schedule(made: object, num_steps: int) -> LRSchedule | None:
    """The schedule of a name with options, or a function of the step as it is; None for none.

    Args:
        made: the name with options, such as ``plateau(factor=0.5, patience=5)``, or a function of the gradient step,
            counted from 0, that gives the factor of the learning rate.
        num_steps: gradient steps of the training.

    Raises:
        InputError: If name or options are unknown or wrong, or a function gives no factor.

    Example:
        >>> build_lr_schedule("cosine(warmup=10)", num_steps=100)(4)
        0.5
        >>> build_lr_schedule(lambda step: 0.9**step, num_steps=100)(1)
        0.9
    """
    if made is None:
        return None
    if isinstance(made, str):
        name, options = parse(made)
        return apply_options("schedule", made, look_up("schedule", name, LR_SCHEDULES), num_steps, **options)
    if not callable(made):
        raise InputError(
            f"schedule is {shown(made)}: expected one of {', '.join(LR_SCHEDULES)}, with options such as "
            "cosine(warmup=500), or a function of the gradient step that gives the factor of the learning rate"
        )
    for step in (0, num_steps - 1):
        if not (isinstance(factor := made(step), Real) and 0 <= float(factor) < math.inf):
            raise InputError(f"schedule gives {shown(factor)} at gradient step {step}: expected a factor, 0 or more")
    return made


def _check_min_factor(value: object) -> float:
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise InputError(f"min_factor is {value!r}: expected a factor of the learning rate, from 0 to below 1")
    return float(value)
