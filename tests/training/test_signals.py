"""SIGTERM and Ctrl-C: the run is saved, and who handled the signal before gets it."""

import signal
import threading

import pytest

from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.signals import on_termination
from pyro_vaes.training.step import EagerStep
from tests.helpers.command_line import SIZES, run
from tests.helpers.training import STEPS, assert_equal, at_step, build, interrupt, terminate, timeless, train, weights

FLAGS = ["--data", "tiny.npz", *SIZES, "--epochs", "2", "--batch-size", "32"]


def test_ctrl_c_keeps_the_whole_epochs(tmp_path):
    pair, expected = build(), build()
    run = train(pair, loss=at_step(STEPS + 1, ELBO(), interrupt), out=tmp_path, epochs=3)
    train(expected, epochs=1)
    assert run.interrupted
    assert len(run.history) == 1
    assert_equal(weights(pair), weights(expected))
    again = train(build(), out=tmp_path, epochs=2, resume=True)
    assert not again.interrupted
    assert len(again.history) == 2


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS], ids=["inside", "last step", "first step"])
def test_sigterm_saves_and_goes_to_who_handled_it_before(tmp_path, step):
    def handler(*_):
        calls.append(RunFolder(tmp_path).read_checkpoint()["last"]["step"])

    whole, pair, calls = build(), build(), []
    expected = train(whole, epochs=3)
    with on_termination(handler):
        run = train(pair, loss=at_step(step, ELBO(), terminate), epochs=3, out=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is handler
    assert run.interrupted
    assert calls == [step + 1], "the step under way was not finished, or another one was taken"
    run = train(pair, epochs=3, out=tmp_path, resume=True)
    assert not run.interrupted
    assert_equal(weights(pair), weights(whole))
    assert timeless(run.history) == timeless(expected.history)


def test_sigterm_after_the_last_step_leaves_a_whole_run(tmp_path):
    with on_termination(lambda *_: None):
        run = train(build(), loss=at_step(2 * STEPS - 1, ELBO(), terminate), epochs=2, out=tmp_path)
    assert len(run.history) == len(RunFolder(tmp_path).read_checkpoint()["history"]) == 2


def test_sigterm_is_not_touched_off_the_main_thread_or_without_a_folder(tmp_path):
    """There nobody could save: the signal does at once what it did before."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look():
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(
        target=lambda: train(build(), loss=at_step(1, ELBO(), look), epochs=1, out=tmp_path / "run")
    )
    thread.start()
    thread.join()
    train(build(), loss=at_step(1, ELBO(), look), epochs=1)
    assert seen == [before, before]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("command", "steps"),
    [("train vae --out out", 1), ("compare --guides mean-field --seeds 2 --num-samples 10 --diagnose 0 --out out", 5)],
    ids=["train", "compare"],
)
def test_the_command_line_ends_with_143(here, monkeypatch, capsys, command, steps):
    step, taken = EagerStep.__call__, []

    def terminated(self, x):
        sums = step(self, x)
        taken.append(self.loss.num_steps)
        if len(taken) == steps:
            terminate()
        return sums

    monkeypatch.setattr(EagerStep, "__call__", terminated)
    assert run(*command.split(), *FLAGS) == 143
    assert capsys.readouterr().err.endswith("pyro-vaes: terminated; train and compare go on with --resume\n")
    assert len(taken) == steps
    assert run(*command.split(), *FLAGS, "--resume") == 0
    assert len(taken) == (4 if command.startswith("train") else 8), "steps were taken again, or left out"
