"""Schedules of the learning rate: closed forms, schedulers of torch, training loops by hand, and resumed trainings."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.optim import lr_scheduler

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.reports.compare import compare
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training import Callback
from pyro_vaes.training.lr_schedules import Constant, Cosine, Plateau, build_lr_schedule
from pyro_vaes.training.step import EagerStep
from pyro_vaes.training.trainer import Trainer
from tests.helpers.training import (
    ALWAYS,
    DATA,
    SHAPE,
    STEPS,
    assert_equal,
    assert_same,
    at_step,
    build,
    clustered,
    interrupt,
    timeless,
    train,
    weights,
)

LR = 0.01


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates_of(scheduler, steps):
    """The learning rates of a scheduler of torch."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_warm_up_is_linear():
    schedule = Constant(num_steps=20, warmup=8)
    assert [schedule(step) for step in range(20)] == [min((step + 1) / 8, 1) for step in range(20)]
    expected = rates_of(lr_scheduler.LinearLR(optimizer(), start_factor=1 / 8, total_iters=7), 20)
    assert [schedule(step) for step in range(20)] == pytest.approx(expected)
    assert [Constant(num_steps=20)(step) for step in (0, 19)] == [1, 1]


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_the_cosine_is_that_of_torch(least):
    schedule = Cosine(num_steps=50, min_factor=least)
    expected = rates_of(lr_scheduler.CosineAnnealingLR(optimizer(), T_max=50, eta_min=least), 50)
    assert [schedule(step) for step in range(50)] == pytest.approx(expected)


def test_the_cosine_begins_after_the_warm_up():
    schedule = Cosine(num_steps=50, warmup=10)
    found = [schedule(step) for step in range(50)]
    assert found[:10] == [(step + 1) / 10 for step in range(10)]
    assert found[10:] == pytest.approx([(1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)])
    assert schedule(50) == schedule(70) == 0


@pytest.mark.parametrize(("factor", "patience", "least"), [(0.5, 1, 0.0), (0.5, 3, 0.0), (0.1, 2, 0.02)])
def test_the_plateau_is_that_of_torch(factor, patience, least):
    """Whose patience is one epoch less: it counts the epochs that pass without a reduction."""
    elbos = (torch.randn(60).cumsum(0) * 3).tolist()
    reference = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        reference, mode="max", factor=factor, patience=patience - 1, threshold=0, min_lr=least, eps=0
    )
    schedule = Plateau(num_steps=100, factor=factor, patience=patience, min_factor=least)
    for epochs in range(1, len(elbos) + 1):
        scheduler.step(elbos[epochs - 1])
        assert schedule.reduced(elbos[:epochs]) == pytest.approx(reference.param_groups[0]["lr"])
    assert schedule.reduced(elbos) < 1


class Rates(Callback):
    """Keeps the learning rate of each step."""

    def __init__(self):
        self.rates = []

    def on_step(self, state, epoch):
        self.rates.append(state.step.optimizer.param_groups[0]["lr"])


def rates(pair=None, **options):
    callback = Rates()
    run = train(pair or build(), lr=LR, callbacks=[callback], **options)
    return run, callback.rates


@pytest.mark.parametrize("text", ["constant(warmup=4)", "cosine", "cosine(warmup=2, min_factor=0.1)"])
def test_fit_takes_the_steps_of_a_schedule_over_all_epochs(text):
    _, found = rates(epochs=4, schedule=text)
    schedule = build_lr_schedule(text, 4 * STEPS)
    assert found == [LR * schedule(step) for step in range(4 * STEPS)]


def test_a_plateau_decays_per_step_and_ends_the_training():
    schedule = Plateau(num_steps=100, factor=0.5, patience=2, decay=0.9, end=2)
    schedule.current = 0.5
    assert [schedule(step) for step in (0, 1, 3)] == pytest.approx([0.5, 0.45, 0.5 * 0.9**3])
    state = SimpleNamespace(
        history=[{"valid_elbo": value} for value in (3.0, 1.0, 1.0, 2.0)], cluster_epoch=0, stop=False
    )
    schedule.on_epoch_end(state, state.history[-1])
    assert (schedule.current, state.stop) == (0.5, False)
    state.history.append({"valid_elbo": 2.5})
    schedule.on_epoch_end(state, state.history[-1])
    assert (schedule.current, state.stop) == (0.25, True)


def test_a_plateau_takes_effect_in_the_next_epoch(monkeypatch):
    values = [1, 2, 1, 2, 3, 1, 1]
    monkeypatch.setattr(Trainer, "_validate", lambda self: float(values[len(self.state.history)]))
    _, found = rates(epochs=7, schedule="plateau(factor=0.1, patience=2, warmup=2)")
    factors = [1] * 4 + [0.1] * 3
    expected = [LR * factor for factor in factors for _ in range(STEPS)]
    assert found == pytest.approx([LR / 2, *expected[1:]])


def test_epochs_up_to_that_of_the_clusters_reduce_nothing(monkeypatch):
    values = [9, 8, 7, 1, 2, 1, 1]
    monkeypatch.setattr(Trainer, "_validate", lambda self: float(values[len(self.state.history)]))
    _, found = rates(clustered(), epochs=8 - 1, cluster_epoch=3, schedule="plateau(patience=1)")
    factors = [1] * 6 + [0.5]
    assert found == [LR * factor for factor in factors for _ in range(STEPS)]


def test_steps_are_those_of_a_loop_by_hand():
    schedule = Cosine(num_steps=30, warmup=5)
    pair, by_hand = build(), build()
    step = EagerStep(*pair, ELBO(), lr=LR, lr_schedule=schedule)
    reference = EagerStep(*by_hand, ELBO(), lr=LR)
    scheduler = lr_scheduler.LambdaLR(reference.optimizer, schedule)
    x = torch.rand(20, *SHAPE)
    for _ in range(30):
        state = torch.get_rng_state()
        step(x)
        torch.set_rng_state(state)
        reference(x)
        scheduler.step()
    assert_equal(weights(pair), weights(by_hand))


@pytest.mark.parametrize("schedule", ["cosine(warmup=4)", "plateau(patience=1)", lambda step: 0.9**step])
def test_an_epoch_goes_on_in_the_middle_of_a_schedule(tmp_path, schedule):
    options = {"epochs": 4, "lr": 0.1, "schedule": schedule, "ema": 0.9, "checkpoint_minutes": ALWAYS}
    whole = build()
    expected = train(whole, out=tmp_path / "whole", **options)
    for number, step in enumerate((1, STEPS + 2, 3 * STEPS, 3 * STEPS + 1)):
        cut = at_step(step, ELBO(), interrupt)
        assert train(build(), loss=cut, out=tmp_path / "cut", resume=number > 0, **options).interrupted
    last = build(seed=1)
    run = train(last, out=tmp_path / "cut", resume=True, **options)
    assert_equal(weights(last), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    assert_same(*(RunFolder(tmp_path / name).read_checkpoint() for name in ("cut", "whole")))


def test_without_a_schedule_a_learning_rate_set_by_a_callback_stays():
    class Halving(Callback):
        def on_epoch_end(self, state, row):
            state.step.optimizer.param_groups[0]["lr"] /= 2

    callback = Rates()
    train(build(), lr=LR, epochs=2, callbacks=[callback, Halving()])
    assert callback.rates == [LR] * STEPS + [LR / 2] * STEPS


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("cosin", "unknown schedule 'cosin': did you mean 'cosine'"),
        ("cosine(warm=5)", "schedule cosine has no option 'warm': did you mean 'warmup'.*Its options: warmup=0"),
        ("cosine(warmup='a')", "warmup is 'a': expected a whole number"),
        ("cosine(warmup=-1)", "warmup is -1: expected a whole number, 0 or more"),
        ("cosine(warmup=6)", "warmup is 6 gradient steps, but the training has 6: expected fewer, or more epochs"),
        ("cosine(min_factor=1.0)", "min_factor is 1.0: expected a factor of the learning rate"),
        ("cosine(min_factor=-0.1)", "min_factor is -0.1"),
        ("plateau(factor=1)", "factor is 1: expected a number between 0 and 1"),
        ("plateau(factor=0)", "factor is 0"),
        ("plateau(decay=1.1)", "decay is 1.1: expected a factor per gradient step"),
        ("plateau(end=0)", "end is 0"),
        ("plateau(patience=0)", "patience is 0: expected a whole number, 1 or more"),
        ("plateau(", "is no name with options"),
        (0.5, "schedule is 0.5: expected one of constant, cosine, plateau"),
        (lambda step: -1, "schedule gives -1 at gradient step 0: expected a factor, 0 or more"),
        (lambda step: math.inf if step else 1, "schedule gives inf at gradient step 5"),
        (lambda step: None, "schedule gives None at gradient step 0"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path, schedule, words):
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path / "run", schedule=schedule)
    if isinstance(schedule, str):
        settings = Settings(epochs=2, batch_size=32, schedule=schedule)
        with pytest.raises(InputError, match=words):
            compare(DATA, ["mean-field"], settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
