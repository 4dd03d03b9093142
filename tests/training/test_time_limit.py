"""A training that ends when its time is over, and a frozen module's mode."""

import pytest
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.training import Callback, TimeLimit
from pyro_vaes.training.pair import set_mode
from tests.helpers.training import build, train


class Slow(Callback):
    """Epochs of a minute each, by the clock of the history."""

    def on_validation_end(self, state, row):
        row["seconds"] = 60.0


@pytest.mark.parametrize(("minutes", "epochs"), [(0.1, 1), (1, 1), (2.5, 3), (9, 4)])
def test_ends_after_the_epoch_in_which_the_time_is_over(minutes, epochs):
    assert len(train(build(), epochs=4, callbacks=[Slow(), TimeLimit(minutes)]).history) == epochs


def test_a_resumed_training_has_what_was_left(tmp_path):
    options = {"out": tmp_path / "run", "epochs": 9}
    train(build(), **{**options, "epochs": 1}, callbacks=[Slow()])
    run = train(build(), **options, resume=True, callbacks=[Slow(), TimeLimit(2.5)])
    assert len(run.history) == 3


@pytest.mark.parametrize("minutes", [0, -1, "10", float("nan")])
def test_what_is_no_time_is_refused(minutes):
    with pytest.raises(InputError, match=r"minutes is .*: expected a positive number of minutes"):
        TimeLimit(minutes)


def test_a_frozen_module_stays_in_evaluation_mode_though_the_guide_holds_it():
    model, guide = nn.Sequential(nn.BatchNorm1d(2)), nn.Sequential(nn.Linear(2, 2))
    guide.append(model)
    model.requires_grad_(False)
    set_mode([model, guide], training=True)
    assert (model.training, model[0].training, guide.training, guide[0].training) == (False, False, True, True)
    plain = nn.Dropout()
    set_mode([plain, guide], training=True)
    assert plain.training
