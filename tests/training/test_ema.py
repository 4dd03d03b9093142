"""Averaged weights: their values, and what keeps and takes them."""

import contextlib

import pytest
import torch
from torch import nn

from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO
from pyro_vaes.param_store import without_registration
from pyro_vaes.training.ema import Average
from pyro_vaes.training.step import EagerStep
from tests.helpers.training import BATCH, DATA, STEPS, assert_equal, build, train, weights


class Sharing(MeanField):
    """A guide that registers a layer of the model too."""

    def __init__(self, vae, encoder):
        super().__init__(vae, encoder)
        self.shared = vae.decoder


class Both(nn.Module):
    """A module that is the model where it is asked for the model, and the guide where for the guide."""

    def __init__(self, vae, guide):
        super().__init__()
        self.vae, self.guide = vae, guide


class OfBoth(ELBO):
    """The ELBO of a :class:`Both`."""

    def objective(self, model, guide, x, *args):
        return super().objective(model.vae, guide.guide, x, *args)


def pair_of(kind):
    vae, guide = build()
    if kind == "one module":
        both = Both(vae, guide)
        return both, both
    return vae, Sharing(vae, guide.encoder) if kind == "shared layer" else guide


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
@pytest.mark.parametrize("kind", ["plain", "shared layer", "one module"])
@pytest.mark.parametrize("decay", [0.3, 0.998])
def test_averages_are_the_recomputed_ones(kind, optimizer, decay):
    model, guide = pair_of(kind)
    step = EagerStep(model, guide, OfBoth() if kind == "one module" else ELBO(), 1e-2, optimizer, decay)
    named = {**dict(model.named_parameters(prefix="model")), **dict(guide.named_parameters(prefix="guide"))}
    distinct = {id(p): p for p in named.values()}
    assert len(step.average.values) == len(distinct), "one is averaged twice"
    expected = {key: p.detach().double().clone() for key, p in distinct.items()}
    for t in range(1, 41):
        step(DATA.train.x[:BATCH])
        d = min(decay, (1 + t) / (10 + t))
        expected = {key: d * value + (1 - d) * distinct[key].detach().double() for key, value in expected.items()}
    raw = weights((model, guide))
    with step.averaged():
        for p in distinct.values():
            torch.testing.assert_close(p.detach().double(), expected[id(p)], rtol=0, atol=1e-6)
        assert not all(torch.equal(value, raw[name]) for name, value in weights((model, guide)).items())
    assert_equal(weights((model, guide)), raw)


def test_an_average_leaves_the_path_of_the_weights_and_what_is_not_trained_as_they_are():
    plain, averaged = build(), build()
    for model, _ in (plain, averaged):
        model.decoder.register_buffer("seen", torch.zeros(()))
        model.likelihood.log_scale.requires_grad_(False)
    steps = [EagerStep(*plain, ELBO(), 1e-2), EagerStep(*averaged, ELBO(), 1e-2, ema=0.9)]
    assert steps[0].average is None
    for step in steps:
        torch.manual_seed(2)
        with without_registration():
            for _ in range(5):
                step(DATA.train.x[:BATCH])
    assert_equal(weights(averaged), weights(plain))
    averaged[0].decoder.seen.fill_(7)
    with torch.no_grad():
        averaged[0].likelihood.log_scale.fill_(-1)
    with steps[1].averaged():
        assert averaged[0].decoder.seen == 7
        assert averaged[0].likelihood.log_scale == -1


def test_fit_validates_and_keeps_the_averages():
    """One step an epoch, from the weights that the first look at the data left."""
    pair, path = build(), []

    class Recording(ELBO):
        def objective(self, model, guide, x, *args):
            if torch.is_grad_enabled():
                path.append([p.detach().clone() for p in (*model.parameters(), *guide.parameters())])
            return super().objective(model, guide, x, *args)

    run = train(pair, loss=Recording(), batch_size=1000, epochs=4, ema=0.998)
    assert run.best_epoch == 4, "the averages that are compared are those of another epoch"
    final = build()
    train(final, loss=Recording(), batch_size=1000, epochs=5)  # its fifth step starts where the fourth ended
    expected = path[0]
    for t, at in enumerate([*path[1:4], path[-1]], start=1):
        d = (1 + t) / (10 + t)
        expected = [d * old + (1 - d) * new for old, new in zip(expected, at, strict=True)]
    for p, value in zip((*pair[0].parameters(), *pair[1].parameters()), expected, strict=True):
        torch.testing.assert_close(p.detach(), value, rtol=0, atol=1e-6)
    torch.manual_seed(0)
    with torch.no_grad():
        terms = ELBO().terms(*pair, DATA.valid.x)
    assert (terms["reconstruction"] - terms["kl"]).mean().item() == pytest.approx(run.history[-1]["valid_elbo"])


@pytest.mark.parametrize("during", ["training", "validation"])
def test_an_interrupted_epoch_leaves_nothing_swapped(tmp_path, monkeypatch, during):
    class Interrupted(ELBO):
        def objective(self, *args):
            if during == "training" and torch.is_grad_enabled() and self.num_steps == STEPS + 1:
                raise KeyboardInterrupt
            return super().objective(*args)

        def terms(self, *args):
            if during == "validation" and self.num_steps == 2 * STEPS:
                raise KeyboardInterrupt
            return super().terms(*args)

    taken = []
    apply = Average.applied

    @contextlib.contextmanager
    def watched(average):
        raw = [each.detach().clone() for each in average.weights]
        try:
            with apply(average):
                yield
        finally:
            taken.append(all(torch.equal(*both) for both in zip(raw, average.weights, strict=True)))

    monkeypatch.setattr(Average, "applied", watched)
    pair, expected = build(), build()
    run = train(pair, loss=Interrupted(), out=tmp_path, epochs=3, ema=0.9)
    assert run.interrupted
    assert taken == [True] * (1 + (during == "validation"))
    train(expected, epochs=1, ema=0.9)
    assert_equal(weights(pair), weights(expected))
