"""fit: what it trains, keeps, repeats and leaves alone."""

from concurrent.futures import ThreadPoolExecutor

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import load, save
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO, IWAE, Warmup
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.training.callbacks import Callback
from tests.helpers.training import BINARY, DATA, GUIDES, TIMES, assert_equal, build, clustered, timeless, train, weights


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


def test_iwae_is_validated_by_its_own_bound_not_by_the_elbo_that_it_gives_up():
    pair, loss = build(), IWAE(num_particles=20)
    row = train(pair, loss=loss, epochs=1, seed=3).history[0]
    assert row["train_elbo"] == row["bound"] != pytest.approx(row["reconstruction"] - row["kl"])
    torch.manual_seed(3)
    with torch.no_grad():
        terms = loss.terms(*pair, DATA.valid.x)
    assert row["valid_elbo"] == pytest.approx(terms["bound"].mean().item(), rel=1e-6)


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


def test_a_model_is_tuned_while_its_guide_is_held():
    model, guide = build()
    train((model, guide))
    guide.requires_grad_(False)
    before = weights((model, guide))
    train((model, guide), epochs=2, ema=0.9)
    after = weights((model, guide))
    assert all(torch.equal(before[f"1.{name}"], after[f"1.{name}"]) for name, _ in guide.named_parameters())
    assert not any(torch.equal(before[f"0.{name}"], after[f"0.{name}"]) for name, _ in model.named_parameters())


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_adam_and_adamax_train(optimizer):
    pair = build()
    before = weights(pair)
    history = train(pair, epochs=3, optimizer=optimizer).history
    assert history[-1]["valid_elbo"] > history[0]["valid_elbo"]
    after = weights(pair)
    assert not [name for name in before if torch.equal(before[name], after[name])]


@pytest.mark.parametrize("cluster_epoch", [1, 2])
def test_mixtures_start_from_the_codes_after_an_epoch(tmp_path, monkeypatch, cluster_epoch):
    looks = []
    monkeypatch.setattr(
        "pyro_vaes.training.initialization.initialize_from_codes",
        lambda *args: looks.append(initialize_from_codes(*args)),
    )
    whole, first, second = clustered(), clustered(), clustered(seed=1)
    expected = train(whole, epochs=4, cluster_epoch=cluster_epoch)
    assert len(looks) == 1
    assert expected.best_epoch > cluster_epoch
    train(first, epochs=2, out=tmp_path, cluster_epoch=cluster_epoch)
    run = train(second, epochs=4, out=tmp_path, resume=True, cluster_epoch=cluster_epoch)
    assert_equal(weights(second), weights(whole))
    assert timeless(run.history) == timeless(expected.history)


def test_a_second_thread_is_refused_while_one_trains():
    caught = []

    class Second(Callback):
        def on_epoch_end(self, state, row):
            train(build(), epochs=1)  # of the same thread
            with ThreadPoolExecutor(1) as pool:
                caught.append(pool.submit(train, build()).exception())

    expected = train(build())
    assert timeless(train(build(), callbacks=[Second()]).history) == timeless(expected.history)
    assert len(caught) == 2
    assert all(
        isinstance(each, InputError) and "another thread of this process is in fit" in str(each) for each in caught
    )
    with ThreadPoolExecutor(1) as pool:
        assert timeless(pool.submit(train, build()).result().history) == timeless(expected.history)
