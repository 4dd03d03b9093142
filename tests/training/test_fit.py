"""fit: what it trains, keeps, refuses, survives and repeats."""

import contextlib
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
import yaml
from torch import nn

from pyro_vaes import load, save
from pyro_vaes.errors import InputError, NonFiniteError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO, Warmup
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.param_store import without_registration
from pyro_vaes.training.ema import Average
from pyro_vaes.training.step import EagerStep
from tests.helpers.training import (
    BATCH,
    BINARY,
    DATA,
    FILES,
    GUIDES,
    STEPS,
    TIMES,
    assert_equal,
    build,
    clustered,
    timeless,
    train,
    weights,
)


class Spoilt(ELBO):
    """An ELBO with which something happens at one gradient step, counted from 0."""

    def __init__(self, at, interrupt=False):
        super().__init__()
        self.at, self.interrupt = at, interrupt

    def objective(self, model, guide, x, *args):
        objective, terms = super().objective(model, guide, x, *args)
        if torch.is_grad_enabled() and self.num_steps == self.at:
            if self.interrupt:
                raise KeyboardInterrupt
            terms["reconstruction"] = terms["reconstruction"].where(torch.arange(len(x)) > 0, torch.nan)
        return objective, terms


# --- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", GUIDES)
def test_the_elbo_rises_and_every_parameter_moves(guide):
    pair = build(guide)
    before = weights(pair)
    history = train(pair, epochs=3).history
    after = weights(pair)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    named = {"epoch", "train_elbo", "valid_elbo", "objective", "reconstruction", "kl", *TIMES}
    assert all(set(row) == named for row in history)
    assert all(row["train_elbo"] == pytest.approx(row["reconstruction"] - row["kl"]) for row in history)
    for elbo in ("train_elbo", "valid_elbo"):
        assert history[-1][elbo] > history[0][elbo]
    assert not [name for name in before if torch.equal(before[name], after[name])]


@pytest.mark.parametrize(("first", "second"), [("MeanField", "Laplace"), ("FullCovariance", "MeanField")])
def test_two_fits_in_one_process_both_train(first, second):
    alone = build(second)
    train(alone)
    train(build(first))
    pair = build(second)
    train(pair)
    assert_equal(weights(pair), weights(alone))


def test_the_seed_decides_everything():
    runs = []
    for seed in (3, 3, 4):
        torch.randn(5)  # the global generator is elsewhere each time
        pair = build()
        history = train(pair, BINARY, seed=seed).history
        runs.append((weights(pair), timeless(history)))
    assert_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert runs[0][1] != runs[2][1]
    assert not all(torch.equal(runs[0][0][name], runs[2][0][name]) for name in runs[0][0])


def test_global_state_is_left_alone():
    pyro.param("mine", torch.ones(2))
    state = torch.get_rng_state()
    train(build())
    assert torch.equal(torch.get_rng_state(), state)
    assert list(pyro.get_param_store()) == ["mine"]


def test_the_best_weights_on_validation_are_kept():
    pair = build()
    run = train(pair, epochs=6, lr=0.5)  # too large on purpose: the last epoch is not the best
    elbos = [row["valid_elbo"] for row in run.history]
    assert run.best_epoch == 1 + elbos.index(max(elbos))
    assert run.best_epoch < 6, "the test says nothing"
    torch.manual_seed(0)
    with torch.no_grad():
        terms = ELBO().terms(*pair, DATA.valid.x)
    assert (terms["reconstruction"] - terms["kl"]).mean().item() == pytest.approx(max(elbos), rel=1e-5)


@pytest.mark.parametrize("batch_size", [30, 86, 1000])
def test_every_datum_is_seen_once_an_epoch(batch_size):
    seen = []

    class Counting(ELBO):
        def objective(self, model, guide, x, *args):
            if torch.is_grad_enabled():
                seen.append(len(x))
            return super().objective(model, guide, x, *args)

    train(build(), loss=Counting(), batch_size=batch_size, epochs=2)
    epoch = [30, 30, 26] if batch_size == 30 else [86]
    assert len(DATA.train) == 86
    assert seen == 2 * epoch


def test_beta_warms_up_and_starts_anew_in_each_fit():
    loss = ELBO(beta=Warmup(steps=2))
    for _ in range(2):
        history = train(build(), loss=loss, batch_size=1000, epochs=3).history
        for row, beta in zip(history, (0.0, 0.5, 1.0), strict=True):
            assert row["objective"] == pytest.approx(row["reconstruction"] - beta * row["kl"], rel=1e-5)


@pytest.mark.parametrize(("scale", "expected"), [(None, None), (0.3, 0.3)])
def test_the_scale_comes_from_the_data_unless_given(scale, expected):
    x = DATA.train.x
    expected = expected or (x - x.mean(0)).square().mean().sqrt().item()
    pair = build(likelihood=Gaussian(scale))
    train(pair, epochs=1, lr=1e-9)
    assert pair[0].likelihood.log_scale.exp().item() == pytest.approx(expected, rel=0.01)


class TutorialModel(nn.Module):
    """The model of Pyro's VAE tutorial."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 16))

    def forward(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x.flatten(1))


class TutorialGuide(nn.Module):
    """Its guide."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(16, 4)

    def forward(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            mean, scale = self.encoder(x.flatten(1)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(mean, scale.exp()).to_event(1))


def test_a_users_own_modules_train_and_leave_the_store_alone():
    pyro.param("mine", torch.ones(2))
    for _ in range(2):  # the second pair uses the same names in Pyro's store
        pair = TutorialModel(), TutorialGuide()
        before = weights(pair)
        history = train(pair, epochs=3).history
        assert history[-1]["valid_elbo"] > history[0]["valid_elbo"]
        after = weights(pair)
        assert not [name for name in before if torch.equal(before[name], after[name])]
        assert list(pyro.get_param_store()) == ["mine"]


# --- a second training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fitted", "saved"])
def test_a_model_that_is_fitted_again_goes_on_from_its_scale(tmp_path, how):
    model, guide = build()
    train((model, guide))
    model.likelihood.log_scale.data.fill_(-3.0)
    if how == "saved":
        save(tmp_path / "pair.pt", model, guide)
        model, guide = load(tmp_path / "pair.pt", *build())
    model.requires_grad_(False)
    train((model, guide))
    assert (model.likelihood.log_scale == -3.0).all()


# --- averaged weights --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_adam_and_adamax_train(optimizer):
    pair = build()
    before = weights(pair)
    history = train(pair, epochs=3, optimizer=optimizer).history
    assert history[-1]["valid_elbo"] > history[0]["valid_elbo"]
    after = weights(pair)
    assert not [name for name in before if torch.equal(before[name], after[name])]


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


# --- the run folder ----------------------------------------------------------------------------------------


def test_the_run_folder_holds_the_run(tmp_path):
    pair = build()
    run = train(pair, out=tmp_path / "new" / "run", seed=5)
    assert run.path == tmp_path / "new" / "run"
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint.1.pt", *FILES]
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    assert yaml.safe_load((run.path / "config.yaml").read_text())["seed"] == 5
    state = torch.load(run.path / "checkpoint.pt", weights_only=True)
    saved = {f"{i}.{key}": value for i, name in enumerate(("model", "guide")) for key, value in state[name].items()}
    assert_equal(saved, weights(pair))
    assert state["history"] == run.history


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    train(build(), out=tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fails(state, file):
        file.write(before[:100])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(InputError, match=r"checkpoint\.pt cannot be written \(disk full\)"):
        train(build(), out=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


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


@pytest.mark.parametrize("cluster_epoch", [1, 2])
def test_mixtures_start_from_the_codes_after_an_epoch(tmp_path, monkeypatch, cluster_epoch):
    looks = []
    monkeypatch.setattr(
        "pyro_vaes.training.trainer.initialize_from_codes", lambda *args: looks.append(initialize_from_codes(*args))
    )
    whole, first, second = clustered(), clustered(), clustered(seed=1)
    expected = train(whole, epochs=4, cluster_epoch=cluster_epoch)
    assert len(looks) == 1
    assert expected.best_epoch > cluster_epoch
    train(first, epochs=2, out=tmp_path, cluster_epoch=cluster_epoch)
    run = train(second, epochs=4, out=tmp_path, resume=True, cluster_epoch=cluster_epoch)
    assert_equal(weights(second), weights(whole))
    assert timeless(run.history) == timeless(expected.history)


def test_an_existing_run_is_refused_or_replaced(tmp_path):
    train(build(), out=tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=r"exists already.*resume.*overwrite"):
        train(build(), out=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    run = train(build(), out=tmp_path, overwrite=True, epochs=1)
    assert len(run.history) == len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES, "figures of the replaced run are still there"


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


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    train(build(), out=tmp_path, epochs=1)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged"):
        train(build(), out=tmp_path, resume=True)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    train(build(), out=tmp_path, epochs=1)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint"):
        train(build(), out=tmp_path, resume=True)


# --- what ends it early ------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_whole_epochs(tmp_path):
    pair, expected = build(), build()
    run = train(pair, loss=Spoilt(STEPS + 1, interrupt=True), out=tmp_path, epochs=3)
    train(expected, epochs=1)
    assert run.interrupted
    assert len(run.history) == 1
    assert_equal(weights(pair), weights(expected))
    again = train(build(), out=tmp_path, epochs=2, resume=True)
    assert not again.interrupted
    assert len(again.history) == 2


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_term_that_is_not_finite_is_named(tmp_path, epoch):
    at = (epoch - 1) * STEPS + 1
    kept = "no epoch was finished" if epoch == 1 else f"checkpoint of epoch 1 in {tmp_path} is kept"
    with pytest.raises(NonFiniteError, match=rf"epoch {epoch}, step 2: .*reconstruction = nan .*{kept}") as caught:
        train(build(), loss=Spoilt(at), out=tmp_path)
    assert "kl = " not in str(caught.value)
    assert (tmp_path / "checkpoint.pt").exists() == (epoch == 2)


def test_weights_that_are_not_finite_at_validation_are_named(tmp_path, monkeypatch):
    step = EagerStep.__call__

    def spoils(self, x):
        sums = step(self, x)
        if self.loss.num_steps == 2 * STEPS:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        return sums

    monkeypatch.setattr(EagerStep, "__call__", spoils)
    with pytest.raises(NonFiniteError, match=r"epoch 2: not finite: decoder.0.weight; the checkpoint of epoch 1"):
        train(build(), out=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(value.isfinite().all() for value in state["model"].values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs is 0: expected a whole number, 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": -1}, "lr is -1: expected a positive number"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"device": "gpu"}, "device 'gpu' is not available"),
        ({"step": "x"}, "unknown step 'x'"),
        ({"cluster_epoch": 1}, "a VAE with a MeanField has no clusters"),
        ({"cluster_epoch": -1}, "cluster_epoch is -1"),
        ({"ema": 0}, "ema is 0: expected .* between 0 and 1 such as 0.998"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"ema": -0.1}, "ema is -0.1"),
        ({"ema": float("nan")}, "ema is nan"),
        ({"ema": "0.9"}, "ema is '0.9'"),
        ({"optimizer": "adam_max"}, "unknown optimizer 'adam_max': did you mean 'adamax'"),
        ({"optimizer": None}, "unknown optimizer 'None'.*Known: adam, adamax"),
        ({"loss": nn.MSELoss()}, "loss is a MSELoss"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": 10**30}, "seed is 1000"),
    ],
)
def test_settings_are_refused_before_a_folder_is_made(tmp_path, options, words):
    pair = build()
    before = weights(pair)
    with pytest.raises(InputError, match=words):
        train(pair, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert_equal(weights(pair), before)


def test_grey_data_under_bernoulli_are_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(InputError, match="Bernoulli needs binary data"):
        train(build(likelihood=Bernoulli()), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(train(build(likelihood=Bernoulli()), BINARY, epochs=1).history) == 1
