"""Patience ends a training at the epoch that the history says, with and without a break, in one process and in two."""

import pytest
import yaml

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.runs.load_run import load_run
from pyro_vaes.training.trainer import Trainer
from tests.helpers.training import (
    ALWAYS,
    DATA,
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

RISING = range(20)


def scripted(monkeypatch, values):
    """Validate to these values, one per epoch."""
    monkeypatch.setattr(Trainer, "_validate", lambda self: float(values[len(self.state.history)]))


@pytest.mark.parametrize(
    ("values", "patience", "epochs", "best"),
    [
        ([1, 2, 3, 2, 3, 1, 9], 3, 6, 3),  # as high as the best is no rise
        ([1, 2, 3, 2, 3, 1, 9], 4, 7, 7),
        ([5, 4, 6, 5, 4, 3, 2], 1, 2, 1),
        ([5, 4, 6, 5, 4, 3, 2], 2, 5, 3),
        (RISING, 1, 7, 7),
    ],
)
def test_it_ends_after_the_epochs_of_the_patience(monkeypatch, values, patience, epochs, best):
    scripted(monkeypatch, values)
    run = train(build(), epochs=7, patience=patience)
    assert (len(run.history), run.best_epoch) == (epochs, best)
    assert run.stopped == (epochs < 7)
    assert not run.interrupted


def test_epochs_up_to_that_of_the_clusters_do_not_count(monkeypatch):
    scripted(monkeypatch, [9, 8, 7, 1, 2, 1, 1, 5, 5, 5])
    run = train(clustered(), epochs=10, cluster_epoch=3, patience=2)
    assert (len(run.history), run.best_epoch) == (7, 5)


@pytest.mark.parametrize(("warmup", "epochs"), [(0, 3), (1, 3), (STEPS, 3), (STEPS + 1, 4), (3 * STEPS, 5)])
def test_epochs_of_the_warm_up_do_not_count(monkeypatch, warmup, epochs):
    scripted(monkeypatch, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    pair = build()
    pair[1].warmup = warmup
    run = train(pair, epochs=10, patience=2)
    assert (len(run.history), run.best_epoch) == (epochs, 1)


@pytest.mark.parametrize("step", [1, STEPS, 3 * STEPS + 2], ids=["first epoch", "between", "last epoch"])
def test_a_resumed_training_ends_at_the_same_epoch(tmp_path, step):
    options = {"epochs": 20, "lr": 0.5, "patience": 3, "checkpoint_minutes": ALWAYS}
    whole, pair = build(), build()
    expected = train(whole, out=tmp_path / "whole", **options)
    assert 3 < len(expected.history) == expected.best_epoch + 3 < 20, "the test says nothing"
    cut = train(build(), loss=at_step(step, ELBO(), interrupt), out=tmp_path / "cut", **options)
    assert cut.interrupted
    assert not cut.stopped
    run = train(pair, out=tmp_path / "cut", resume=True, **options)
    assert run.stopped
    assert timeless(run.history) == timeless(expected.history)
    assert_equal(weights(pair), weights(whole))
    assert_same(*(RunFolder(tmp_path / name).read_checkpoint() for name in ("cut", "whole")))


def test_a_stopped_training_goes_on_with_more_patience_alone(tmp_path, monkeypatch):
    scripted(monkeypatch, [5, 4, 3, 2, 1, 0])
    assert len(train(build(), epochs=6, patience=2, out=tmp_path).history) == 3
    again = train(build(), epochs=6, patience=2, out=tmp_path, resume=True)
    assert (len(again.history), again.stopped) == (3, True)
    more = train(build(), epochs=6, patience=4, out=tmp_path, resume=True)
    assert (len(more.history), more.stopped) == (5, True)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["patience"] == 4
    whole = train(build(), epochs=6, out=tmp_path, resume=True)
    assert (len(whole.history), whole.stopped) == (6, False)


def test_a_stopped_training_was_not_interrupted(tmp_path, monkeypatch):
    scripted(monkeypatch, [5, 4, 3, 2])
    pair = build()
    train(pair, epochs=4, patience=1, out=tmp_path / "stopped")
    assert load_run(tmp_path / "stopped", *pair, DATA).note == ""
    train(pair, loss=at_step(2 * STEPS, ELBO(), interrupt), epochs=4, out=tmp_path / "cut")
    assert "interrupted after epoch 2 of 4" in load_run(tmp_path / "cut", *pair, DATA).note


def stopped(rank, folder):
    run = train(build(), epochs=20, lr=0.5, patience=2, out=folder / "run")
    return len(run.history), run.best_epoch, run.stopped


@pytest.mark.slow
def test_all_processes_end_together(run_in_processes):
    first, second = run_in_processes(stopped)
    assert first == second
    assert first[0] == first[1] + 2 < 20
    assert first[2]


@pytest.mark.parametrize("patience", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_epochs_is_refused(tmp_path, patience):
    with pytest.raises(InputError, match=r"patience is .*: expected a whole number, 1 or more"):
        train(build(), out=tmp_path / "run", patience=patience)
    assert not (tmp_path / "run").exists()
