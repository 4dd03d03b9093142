"""The summary of a run: the best epoch, how far the model overfits there, and why the training ended."""

import pytest

from pyro_vaes.training.run import Run


def rows(*pairs):
    return [{"epoch": n, "train_elbo": t, "valid_elbo": v} for n, (t, v) in enumerate(pairs, 1)]


@pytest.mark.parametrize(
    ("history", "best", "stopped", "words"),
    [
        (rows((-9, -8), (-5, -7.5)), 2, False, ["epoch 2 of 2", "-7.50 nats", "there -5.00, higher by 2.50", "longer"]),
        (
            rows((-9, -8), (-5, -9)),
            1,
            False,
            ["epoch 1 of 2", "there -9.00, lower by 1.00", "no rise for 1 epoch"],
        ),
        (rows((1, 2), (2, 1), (3, 1)), 1, True, ["epoch 1 of 3", "lower by 1.00; stopped", "not risen for 2 epochs"]),
    ],
)
def test_the_summary_says_best_epoch_overfitting_and_end(history, best, stopped, words):
    run = Run(history, best_epoch=best, stopped=stopped)
    assert run.best is history[best - 1]
    for each in words:
        assert each in run.summary()
