"""Warm-up of guides: at which steps, with which value, and the same weights of every kind of step and of a resume."""

import shutil

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training import Callback, cuda_graph_step
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.cuda_graph_step import GraphStep
from pyro_vaes.training.step import EagerStep
from tests.helpers.recording import again
from tests.helpers.training import ALWAYS, STEPS, assert_equal, assert_same, at_step, build, interrupt, train, weights


class Shifted(MeanField):
    """A mean-field guide whose means are shifted by its progress, of which it keeps a record."""

    warmup = 5

    def __init__(self, *parts):
        super().__init__(*parts)
        self.seen = []

    def local_parameters(self, x):
        self.seen.append((self.training and torch.is_grad_enabled(), self.progress))
        (parameters,) = super().local_parameters(x)
        return (parameters + self.progress,)

    def in_steps(self):
        return [progress for in_step, progress in self.seen if in_step]


def shifted(warmup=5, seed=0):
    vae, guide = build(seed=seed)
    own = Shifted(vae, guide.encoder)
    own.head, own.warmup = guide.head, warmup
    return vae, own


def laplace(seed=0):
    vae, guide = build(seed=seed)
    own = Laplace(vae, guide.encoder, updates=2, warmup=5, line_search=True)
    own.head = guide.head
    return vae, own


PAIRS = pytest.mark.parametrize("make", [shifted, laplace])


def test_progress_rises_over_the_first_steps_and_is_1_in_validation():
    vae, guide = shifted()
    outside = []

    class Look(Callback):
        def on_step(self, state, epoch):
            outside.append(guide.progress)

    train((vae, guide), epochs=5, callbacks=[Look()])
    assert guide.in_steps() == [0, 0.2, 0.4, 0.6, 0.8, *[1.0] * (5 * STEPS - 5)]
    assert {progress for in_step, progress in guide.seen if not in_step} == {1.0}
    assert outside == [1.0] * (5 * STEPS)


def test_a_warmup_takes_at_most_two_fifths_of_a_training():
    vae, guide = shifted(warmup=1000)
    train((vae, guide), epochs=5)
    assert guide.in_steps() == [*(step / 6 for step in range(6)), *[1.0] * 9]


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_moments_and_averages_start_again_after_the_warmup(optimizer):
    step = EagerStep(*shifted(), ELBO(), lr=1e-2, optimizer=optimizer, ema=0.9)
    step.warmup = 2
    for _ in range(2):
        step(torch.rand(5, 1, 4, 4))
    fresh = EagerStep(*shifted(), ELBO(), lr=1e-2, optimizer=optimizer, ema=0.9)
    assert all(not value.any() for state in step.optimizer.state.values() for value in state.values())
    assert step.average.starts == [2] * len(step.weights)
    for values in zip(step.average.values, step.weights, strict=True):
        assert torch.equal(*values)
    fresh.model.load_state_dict(step.model.state_dict()), fresh.guide.load_state_dict(step.guide.state_dict())
    x = torch.rand(5, 1, 4, 4)
    for each in (step, fresh):
        torch.manual_seed(3)
        each(x)
    torch.testing.assert_close(step.weights, fresh.weights, rtol=0, atol=0)


def test_a_posterior_that_changes_gradually_keeps_moments_and_averages():
    vae, guide = shifted()
    guide.restarts = False
    kept, plain = (EagerStep(vae, guide, ELBO(), lr=1e-2, ema=0.9) for _ in range(2))
    kept.warmup = 2
    for _ in range(2):
        kept(torch.rand(5, 1, 4, 4))
    assert any(value.any() for state in kept.optimizer.state.values() for value in state.values())
    assert kept.average.starts == plain.average.starts


def test_progress_is_1_again_after_an_interrupted_step():
    vae, guide = shifted()
    run = train((vae, guide), loss=at_step(2, ELBO(), interrupt), epochs=5)
    assert run.interrupted
    assert guide.progress == 1.0


@pytest.mark.parametrize("warmup", [-1, 0.5, "long"])
def test_a_warmup_that_is_none_is_refused(warmup):
    with pytest.raises(InputError, match=r"guide\.warmup is .*: expected a whole number, 0 or more"):
        train(shifted(warmup))


@PAIRS
@pytest.mark.parametrize("cut", [2, 5, STEPS, 2 * STEPS], ids=["inside", "at its end", "after an epoch", "after it"])
def test_a_resume_across_the_warmup_is_the_run_without_a_break(tmp_path, make, cut):
    whole, last = make(), make(seed=1)
    options = {"epochs": 5, "checkpoint_minutes": ALWAYS}
    train(whole, out=tmp_path / "whole", **options)
    train(make(), loss=at_step(cut, ELBO(), interrupt), out=tmp_path / "cut", **options)
    train(last, out=tmp_path / "cut", resume=True, **options)
    assert_equal(weights(last), weights(whole))
    assert_same(*(RunFolder(tmp_path / name).read_checkpoint() for name in ("cut", "whole")))


def test_the_warmup_of_laplace_trains_as_mean_field_does():
    class Keep(Callback):
        def __init__(self):
            self.weights = []

        def on_step(self, state, epoch):
            self.weights.append(weights((state.model, state.guide)))

    kept = [Keep(), Keep()]
    for make, keep in zip((laplace, build), kept, strict=True):
        train(make(), epochs=5, callbacks=[keep])
    pairs = list(zip(*(keep.weights for keep in kept), strict=True))
    for one, other in pairs[:5]:
        assert_equal(one, other)
    assert any(not torch.equal(pairs[5][0][name], pairs[5][1][name]) for name in pairs[5][0])


def test_a_run_that_is_prolonged_does_not_warm_up_again(tmp_path):
    train(shifted(warmup=1000), epochs=1, out=tmp_path)
    vae, guide = shifted(warmup=1000)
    train((vae, guide), epochs=5, out=tmp_path, resume=True)
    assert guide.in_steps() == [1.0] * (4 * STEPS)


def steps(kind, make):
    """Sums of each step and the weights after the last, of a warm-up over half of the steps."""
    batches, pair = torch.rand(6, 5, 1, 4, 4), make()
    step = kind(*pair, ELBO(), lr=1e-2)
    step.warmup = 3
    step.prepare_for(batches[0])
    torch.manual_seed(1)
    return torch.stack([step(x) for x in batches]), weights(pair)


@PAIRS
def test_a_graph_takes_over_after_the_warmup(monkeypatch, make):
    monkeypatch.setattr(cuda_graph_step, "record", again)
    torch.manual_seed(2)
    expected = steps(EagerStep, make)
    torch.manual_seed(2)
    torch.testing.assert_close(steps(GraphStep, make), expected, rtol=0, atol=0)


@pytest.mark.parametrize("make", [shifted, pytest.param(laplace, marks=pytest.mark.slow)])
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which Inductor needs here")
def test_a_compiled_step_takes_over_after_the_warmup(make):
    torch.manual_seed(2)
    expected = steps(EagerStep, make)
    torch.manual_seed(2)
    torch.testing.assert_close(steps(CompiledStep, make), expected, rtol=1e-4, atol=1e-5)
