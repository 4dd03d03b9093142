"""A resumed run is the uninterrupted one, between epochs and inside one."""

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO, FreeBits, SoftFreeBits, Warmup
from pyro_vaes.networks import MLPEncoder
from pyro_vaes.runs.checkpoint import load_weights
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.training.callbacks import Callback
from tests.helpers.training import (
    ALWAYS,
    BINARY,
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


@pytest.mark.parametrize(
    ("trained", "resumed", "words"),
    [
        ({"ema": 0.9}, {}, "has averaged weights: resume it with the ema of its config.yaml"),
        ({}, {"ema": 0.9}, "has no averaged weights: resume it without ema"),
        ({"optimizer": "adamax"}, {}, "optimizer is adamax, here it is adam: give optimizer='adamax'"),
    ],
)
def test_resume_refuses_another_kind_of_step(tmp_path, trained, resumed, words):
    train(build(), out=tmp_path, **trained)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (config["ema"], config["optimizer"]) == (trained.get("ema"), trained.get("optimizer", "adam"))
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path, epochs=3, resume=True, **resumed)


class Turning(ELBO):
    """An ELBO that warms up, and that from some step on is made worse."""

    def __init__(self, turn):
        super().__init__(beta=Warmup(3 * STEPS))
        self.turn = turn

    def objective(self, model, guide, x, *args):
        objective, terms = super().objective(model, guide, x, *args)
        return (objective if self.num_steps < self.turn else -1000 * objective), terms  # more than Adam remembers


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"optimizer": "adamax", "ema": 0.5}], ids=str)
@pytest.mark.parametrize(("turn", "best"), [(100, 4), (2 * STEPS, 2)], ids=["rising", "falling after it"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, turn, best, options):
    whole, first, second = build("Laplace"), build("Laplace"), build("Laplace", seed=1)
    expected = train(whole, loss=Turning(turn), epochs=4, **options)
    train(first, loss=Turning(turn), epochs=2, out=tmp_path, **options)
    run = train(second, loss=Turning(turn), epochs=4, out=tmp_path, resume=True, **options)
    assert_equal(weights(second), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    assert run.best_epoch == expected.best_epoch == best
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_resume_refuses_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"overwrite and resume contradict"):
        train(build(), out=tmp_path, overwrite=True, resume=True)
    with pytest.raises(InputError, match=r"holds no checkpoint\.pt to resume from"):
        train(build(), out=tmp_path, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        train(build(), out=tmp_path / "file")


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"guide": "FullCovariance"}, r"guide is a MeanField that does not fit this FullCovariance: .*head\.weight"),
        ({"hidden": 9}, r"model is a VAE that does not fit this VAE: its decoder.*shape"),
        ({"likelihood": Gaussian(0.5, learn=False)}, r"optimizer"),
    ],
)
def test_resume_refuses_another_pair(tmp_path, other, difference):
    train(build(), out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=difference) as caught:
        train(build(**other), out=tmp_path, epochs=3, resume=True)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class Dropping(MLPEncoder):
    """An encoder with dropout."""

    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.3, self.training)


def dropping(seed=0):
    vae, _ = build(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vae, MeanField(vae, Dropping(SHAPE, hidden=(16,)))


SHAPED = {"clip_norm": 1.0, "patience": 2, "optimizer": "adamw(weight_decay=0.1)", "ema": 0.9}
SYSTEMS = {
    "plain": (build, ELBO, {}),
    "noise in the data": (build, ELBO, {"data": BINARY}),
    "averages": (build, ELBO, {"ema": 0.9, "optimizer": "adamax"}),
    "dropout": (dropping, ELBO, {}),
    "a loss with a state": (build, lambda: SoftFreeBits(target=2.0), {}),
    "clusters": (clustered, ELBO, {"cluster_epoch": 1}),
    "cosine": (build, ELBO, {"schedule": "cosine(warmup=4)", **SHAPED}),
    "plateau": (build, ELBO, {"schedule": "plateau(patience=1)", "lr": 0.3, **SHAPED}),
    "clusters and plateau": (clustered, ELBO, {"cluster_epoch": 1, "schedule": "plateau(patience=1)", **SHAPED}),
    "clusters and averages": (clustered, ELBO, {"cluster_epoch": 1, "ema": 0.9}),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_epoch_goes_on_where_it_was_left(tmp_path, system):
    make, loss, options = SYSTEMS[system]
    whole = make()
    expected = train(whole, loss=loss(), epochs=3, out=tmp_path / "whole", **options)
    out, breaks = tmp_path / "cut", (1, 2, STEPS + 1, STEPS + 2, 3 * STEPS - 1)
    for number, step in enumerate(breaks):
        cut = at_step(step, loss(), interrupt)
        run = train(make(), loss=cut, epochs=3, out=out, resume=number > 0, checkpoint_minutes=ALWAYS, **options)
        assert run.interrupted
        assert RunFolder(out).read_checkpoint()["last"]["step"] == step, "the epoch was begun again"
    last = make(seed=1)
    run = train(last, loss=loss(), epochs=3, out=out, resume=True, checkpoint_minutes=ALWAYS, **options)
    assert_equal(weights(last), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    assert_same(RunFolder(out).read_checkpoint(), RunFolder(tmp_path / "whole").read_checkpoint())


def test_checkpoints_come_by_time(tmp_path, monkeypatch):
    now, saved = [0.0], []
    write = RunFolder.write_checkpoint
    monkeypatch.setattr("pyro_vaes.training.signals.time.monotonic", lambda: now[0])
    monkeypatch.setattr(RunFolder, "write_checkpoint", lambda *args: saved.append(now[0]) or write(*args))

    class Slow(ELBO):
        """Each gradient step takes a minute."""

        def objective(self, *args):
            now[0] += 60 * torch.is_grad_enabled()
            return super().objective(*args)

    train(build(), loss=Slow(), epochs=2, batch_size=10, out=tmp_path, checkpoint_minutes=4)
    assert len(DATA.train) == 86
    assert [seconds / 60 for seconds in saved] == [4, 8, 9, 13, 17, 18]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "whose seed is 0, here it is 1: resume it as it was started"),
        ({"loss": SoftFreeBits(target=1.0)}, "whose loss is ELBO, here it is SoftFreeBits"),
        ({"data": type(DATA).from_arrays(x_train=np.zeros((60, 4, 4)))}, "number of training data is 86, here it is"),
    ],
)
def test_an_epoch_of_other_steps_is_refused(tmp_path, changes, words):
    train(build(), loss=at_step(1, ELBO(), interrupt), out=tmp_path, checkpoint_minutes=ALWAYS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path, resume=True, **changes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_of_no_whole_epoch_are_only_resumed(tmp_path):
    train(build(), loss=at_step(1, ELBO(), interrupt), out=tmp_path, checkpoint_minutes=ALWAYS)
    with pytest.raises(InputError, match="has not finished its first epoch: go on with it"):
        load_weights(build()[0], RunFolder(tmp_path).read_checkpoint(), "model")


@pytest.mark.parametrize("inside", [False, True], ids=["between epochs", "inside one"])
@pytest.mark.parametrize(
    ("optimizer", "changes"), [("adam", {"lr": 1e-5}), ("adam", {"ema": 0.3}), ("adamax", {"lr": 0.2})], ids=str
)
def test_new_options_hold_after_a_resume(tmp_path, optimizer, changes, inside):
    """As if the option had been changed by hand, with moments, step count and averages as they were."""

    class Changed(Callback):
        def on_step(self, state, epoch):
            if state.loss.num_steps == STEPS + inside:
                for group in state.step.optimizer.param_groups:
                    group["lr"] = changes.get("lr", group["lr"])
                state.step.average.decay = changes.get("ema", state.step.average.decay)

    options = {"ema": 0.9, "optimizer": optimizer, "checkpoint_minutes": ALWAYS}
    by_hand, first, second = build(), build(), build(seed=1)
    expected = train(by_hand, epochs=3, callbacks=[Changed()], **options)
    stopped = at_step(STEPS + inside, ELBO(), interrupt) if inside else ELBO()
    train(first, loss=stopped, epochs=1 + inside, out=tmp_path, **options)
    run = train(second, epochs=3, out=tmp_path, resume=True, **(options | changes))
    assert_equal(weights(second), weights(by_hand))
    assert timeless(run.history) == timeless(expected.history)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert {name: config[name] for name in changes} == changes


def test_options_of_the_device_are_those_of_this_process(tmp_path):
    """A checkpoint of a GPU has ``capturable``, and one of another version of torch options of its own."""
    whole, first, second = build(), build(), build(seed=1)
    train(whole, epochs=2)
    train(first, epochs=1, out=tmp_path)
    folder = RunFolder(tmp_path)
    state = folder.read_checkpoint()
    state["last"]["optimizer"]["param_groups"][0] |= {"capturable": True, "fused": None, "foreach": True, "of_old": 1}
    folder.write_checkpoint(state)
    train(second, epochs=2, out=tmp_path, resume=True)
    assert_equal(weights(second), weights(whole))


@pytest.mark.parametrize(
    ("make", "trained", "resumed", "words"),
    [
        (build, {}, {"loss": FreeBits(total=1.0)}, "the checkpoint's loss is ELBO, here it is FreeBits"),
        (clustered, {}, {"cluster_epoch": 1}, "cluster_epoch is 0, here it is 1, which 2 epochs are past"),
        (clustered, {"cluster_epoch": 1}, {}, "cluster_epoch is 1, here it is 0, .* give cluster_epoch=1"),
    ],
)
def test_what_cannot_change_is_refused(tmp_path, make, trained, resumed, words):
    train(make(), out=tmp_path, **trained)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words):
        train(make(), out=tmp_path, epochs=3, resume=True, **resumed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_epoch_of_clusters_that_is_to_come_may_change(tmp_path):
    train(clustered(), epochs=1, out=tmp_path)
    assert len(train(clustered(), epochs=3, out=tmp_path, resume=True, cluster_epoch=2).history) == 3
