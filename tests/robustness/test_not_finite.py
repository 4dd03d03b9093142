"""Values that are not finite: named, and in no checkpoint."""

import numpy as np
import pytest
import torch

from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.step import EagerStep
from tests.helpers.training import ALWAYS, DATA, STEPS, build, train


class Spoilt(ELBO):
    """An ELBO with a NaN at one gradient step, counted from 0."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def objective(self, model, guide, x, *args):
        objective, terms = super().objective(model, guide, x, *args)
        if torch.is_grad_enabled() and self.num_steps == self.at:
            terms["reconstruction"] = terms["reconstruction"].where(torch.arange(len(x)) > 0, torch.nan)
        return objective, terms


def spoil_weights(monkeypatch, num_steps):
    """Weights become NaN after this number of steps."""
    step = EagerStep.__call__

    def spoils(self, x):
        sums = step(self, x)
        if self.loss.num_steps == num_steps:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        return sums

    monkeypatch.setattr(EagerStep, "__call__", spoils)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_term_that_is_not_finite_is_named(tmp_path, epoch):
    at = (epoch - 1) * STEPS + 1
    kept = "no epoch was finished" if epoch == 1 else f"checkpoint of epoch 1 in {tmp_path} is kept"
    with pytest.raises(NonFiniteError, match=rf"epoch {epoch}, step 2: .*reconstruction = nan .*{kept}") as caught:
        train(build(), loss=Spoilt(at), out=tmp_path)
    assert "kl = " not in str(caught.value)
    assert (tmp_path / "checkpoint.pt").exists() == (epoch == 2)


def test_weights_that_are_not_finite_at_validation_are_named(tmp_path, monkeypatch):
    spoil_weights(monkeypatch, 2 * STEPS)
    with pytest.raises(NonFiniteError, match=r"epoch 2: not finite: decoder.0.weight; the checkpoint of epoch 1"):
        train(build(), out=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["model"].values())


def test_spoilt_weights_are_not_saved_inside_an_epoch(tmp_path, monkeypatch):
    spoil_weights(monkeypatch, STEPS + 2)
    kept = f"the checkpoint of epoch 2, step 1, in {tmp_path} is kept"
    with pytest.raises(NonFiniteError, match=rf"epoch 2: not finite: decoder.*; {kept}"):
        train(build(), out=tmp_path, checkpoint_minutes=ALWAYS)
    assert RunFolder(tmp_path).read_checkpoint()["last"]["step"] == STEPS + 1


def test_gradients_that_are_not_finite_spoil_no_checkpoint(tmp_path):
    """At the last step of an epoch: the loss was finite with the weights before."""
    pair, calls = build(), []

    def hook(gradient):
        calls.append(gradient)
        return gradient * torch.nan if len(calls) == 2 * STEPS else gradient

    pair[0].decoder[0].bias.register_hook(hook)
    with pytest.raises(
        NonFiniteError, match=r"epoch 2: not finite: decoder\.0\.bias; the checkpoint of epoch 1 in .* kept"
    ):
        train(pair, out=tmp_path, epochs=3)
    state = RunFolder(tmp_path).read_checkpoint()
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["last"]["model"].values())


def test_weights_that_no_loss_sees_are_looked_at_too(tmp_path):
    pair = build()
    pair[1].unused = torch.nn.Parameter(torch.tensor(torch.nan))
    with pytest.raises(NonFiniteError, match="epoch 1: not finite: unused"):
        train(pair, out=tmp_path)
    assert not RunFolder(tmp_path).resumable


def test_data_that_are_not_finite():
    x = np.random.default_rng(0).random((20, 4, 4), np.float32)
    for value in (np.nan, np.inf):
        x[3, 1, 2] = value
        with pytest.raises(InputError, match=r"x_train\[3, 1, 2\] is (nan|inf)"):
            type(DATA).from_arrays(x_train=x)
