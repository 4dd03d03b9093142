"""Callbacks: when they are called, what they see, and how they stop a training."""

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training import Callback
from tests.helpers.training import (
    ALWAYS,
    STEPS,
    assert_equal,
    assert_same,
    at_step,
    build,
    interrupt,
    timeless,
    train,
    weights,
)


class EarlyStopping(Callback):
    """Ends a training whose validation ELBO has not risen for 2 epochs."""

    def on_epoch_end(self, state, row):
        if row["epoch"] - state.best_epoch >= 2:
            state.stop = True


class Log(Callback):
    """Keeps the row of each epoch."""

    def __init__(self):
        self.rows = []

    def on_epoch_end(self, state, row):
        assert state.history[-1] is row
        self.rows.append(row)


@pytest.mark.parametrize("step", [STEPS, 2 * STEPS + 1], ids=["between epochs", "inside one"])
def test_a_callback_stops_early_with_and_without_a_break(tmp_path, step):
    options = {"epochs": 20, "lr": 0.5, "checkpoint_minutes": ALWAYS}
    whole, pair = build(), build()
    expected = train(whole, out=tmp_path / "whole", callbacks=[EarlyStopping()], **options)
    assert 2 < len(expected.history) == expected.best_epoch + 2 < 20, "the test says nothing"
    assert not expected.interrupted
    cut = at_step(step, ELBO(), interrupt)
    assert train(build(), loss=cut, out=tmp_path / "cut", callbacks=[EarlyStopping()], **options).interrupted
    run = train(pair, out=tmp_path / "cut", resume=True, callbacks=[EarlyStopping()], **options)
    assert timeless(run.history) == timeless(expected.history)
    assert_equal(weights(pair), weights(whole))
    assert_same(*(RunFolder(tmp_path / name).read_checkpoint() for name in ("cut", "whole")))


def test_a_callback_stops_as_many_epochs_would(tmp_path):
    stopped, expected = build(), build()
    run = train(stopped, epochs=20, lr=0.5, callbacks=[EarlyStopping()])
    other = train(expected, epochs=len(run.history), lr=0.5)
    assert timeless(run.history) == timeless(other.history)
    assert_equal(weights(stopped), weights(expected))


def test_a_stop_inside_an_epoch_ends_the_training_after_it(tmp_path):
    class Stopping(Callback):
        def on_step(self, state, epoch):
            state.stop = True

    run = train(build(), epochs=3, out=tmp_path, callbacks=[Stopping()])
    assert len(run.history) == len(RunFolder(tmp_path).read_checkpoint()["history"]) == 1
    assert not run.interrupted


def test_a_callback_logs_each_epoch_once_with_and_without_a_break(tmp_path):
    log, first, second = Log(), Log(), Log()
    run = train(build(), epochs=4, callbacks=[log])
    assert log.rows == run.history
    cut = at_step(2 * STEPS + 1, ELBO(), interrupt)
    train(build(), loss=cut, epochs=4, out=tmp_path, checkpoint_minutes=ALWAYS, callbacks=[first])
    resumed = train(build(), epochs=4, out=tmp_path, resume=True, callbacks=[second])
    assert first.rows + second.rows == resumed.history
    assert timeless(resumed.history) == timeless(run.history)


class Calls(Callback):
    """Lists the names of its hooks as they are called."""

    def __init__(self):
        self.names = []


def _listed(name):
    def hook(self, state, *_):
        self.names.append(name)

    return hook


HOOKS = [name for name in vars(Callback) if name.startswith("on_")]
for _name in HOOKS:
    setattr(Calls, _name, _listed(_name))
EPOCH = ["on_epoch_start", *["on_step"] * STEPS, "on_validation_start", "on_validation_end", "on_epoch_end"]


def test_the_hooks_are_called_in_order():
    calls = Calls()
    train(build(), callbacks=[calls])
    assert calls.names == ["on_start", *EPOCH, *EPOCH, "on_end"]
    assert set(calls.names) == set(HOOKS)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_end_is_told_after_an_interruption_and_an_error(error):
    def fail():
        raise error

    calls, others = Calls(), Calls()
    try:
        interrupted = train(build(), loss=at_step(1, ELBO(), fail), callbacks=[calls, others]).interrupted
    except RuntimeError:
        interrupted = False
    assert interrupted == (error is KeyboardInterrupt)
    assert calls.names == others.names == ["on_start", "on_epoch_start", "on_step", "on_end"]


def test_steps_call_only_callbacks_that_follow_steps(monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(Callback, "on_step", fail)
    assert len(train(build(), callbacks=[Log()]).history) == 2


def test_validated_weights_are_shown_and_steps_have_their_records():
    class Watching(Callback):
        validated, sums = [], []

        def on_step(self, state, epoch):
            self.sums.append(dict(zip(state.step.names, epoch.records[-1].tolist(), strict=True)))

        def on_validation_end(self, state, row):
            assert not state.model.training
            assert not state.guide.training
            assert len(state.history) == row["epoch"] - 1
            self.validated.append(
                {
                    f"{i}.{key}": value
                    for i, name in enumerate(("model", "guide"))
                    for key, value in state.weights()[name].items()
                }
            )

    pair, watching = build(), Watching()
    run = train(pair, epochs=3, ema=0.9, callbacks=[watching])
    assert_equal(watching.validated[run.best_epoch - 1], weights(pair))
    for row, number in zip(run.history, range(3), strict=True):
        sums = watching.sums[number * STEPS : (number + 1) * STEPS]
        assert row["kl"] == pytest.approx(sum(each["kl"] for each in sums) / 86, rel=1e-5)


def test_callbacks_leave_the_training_as_it_is():
    class Drawing(Callback):
        def on_validation_end(self, state, row):
            torch.randn(3)

        on_epoch_end = on_validation_end

    plain, followed = build(), build()
    run, other = train(plain), train(followed, callbacks=(Drawing(), Log()))
    assert_equal(weights(plain), weights(followed))
    assert timeless(run.history) == timeless(other.history)


@pytest.mark.parametrize("callbacks", [[Log], Log(), [print], None])
def test_what_is_no_callback_is_refused(callbacks):
    with pytest.raises(
        InputError, match=r"callbacks is .*: expected a list of instances of pyro_vaes.training.Callback"
    ):
        train(build(), callbacks=callbacks)
