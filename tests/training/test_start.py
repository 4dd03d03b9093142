"""Trainings that start from a trained mean-field guide."""

import pytest
import torch

from pyro_vaes import InputError, compare
from pyro_vaes.guides import FullCovariance
from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.recipes import Settings, build_seeded, vae
from tests.helpers.training import DATA, assert_equal, build, train, weights

STILL = {"epochs": 1, "lr": 1e-30}  # a training that moves no weight


@pytest.fixture(scope="module")
def trained():
    pair = build()
    train(pair, epochs=3)
    return pair


def test_guide_and_model_have_the_trained_weights_at_the_start(trained):
    vae, guide = build("FullCovariance", seed=5)
    train((vae, guide), start=trained[1], **STILL)
    assert_equal(weights([vae]), weights(trained[:1]))
    for name in ("mean", "variance"):
        found, expected = (getattr(each.posterior(DATA.test.x), name) for each in (guide, trained[1]))
        torch.testing.assert_close(found, expected)


def test_a_guide_of_the_same_model_leaves_it_as_it_is(trained):
    vae, mean_field = trained
    before = weights([vae])
    guide = FullCovariance(vae, build(seed=5)[1].encoder)
    train((vae, guide), start=mean_field, **STILL)
    assert_equal(weights([vae]), before)
    assert torch.equal(guide.posterior(DATA.test.x).mean, mean_field.posterior(DATA.test.x).mean)


def test_a_resumed_training_goes_on_from_its_checkpoint(trained, tmp_path):
    whole, first, second = (build("FullCovariance", seed=5) for _ in range(3))
    train(whole, start=trained[1], epochs=2)
    train(first, start=trained[1], epochs=1, out=tmp_path)
    train(second, start=trained[1], epochs=2, out=tmp_path, resume=True)
    assert_equal(weights(second), weights(whole))


def test_there_is_no_warmup_after_a_start(trained):
    vae, guide = build("FullCovariance", seed=5)
    train((vae, guide), start=trained[1], epochs=1)
    assert guide.posterior(DATA.test.x).scale_tril.tril(-1).count_nonzero() > 0


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("runs/vae", "start is a str: with a start it has to be a pyro_vaes Guide"),
        (build("FullCovariance")[1], "the start is a FullCovariance: give a trained MeanField guide"),
        (build(hidden=9)[1], "the encoder to start from has another architecture: .*=9.* where this one has .*=16"),
        (
            build(likelihood=Bernoulli())[1],
            r"the model to start from has another .*: Bernoulli\(\) where .* Gaussian\(\)",
        ),
    ],
    ids=["a path", "another guide", "another encoder", "another likelihood"],
)
def test_what_cannot_be_started_from_is_refused(start, words):
    with pytest.raises(InputError, match=words):
        train(build("FullCovariance"), start=start)


def test_a_comparison_starts_every_guide_there(tmp_path):
    settings = Settings(latent_dim=2, hidden=(8,), epochs=1, lr=1e-30, device="cpu")
    start = build_seeded(vae, DATA.event_shape, settings, seed=7).guide
    names = ["mean-field", "full-covariance", "low-rank"]
    options = {"num_samples": 5, "images": 0, "progress": False, "start": start}
    trials = compare(DATA, names, settings, [0], tmp_path / "report", **options)
    for trial in trials:
        found = trial.system.guide.posterior(DATA.test.x).mean
        torch.testing.assert_close(found, start.posterior(DATA.test.x).mean)
    with pytest.raises(InputError, match="the encoder to start from has another architecture"):
        compare(DATA, names, Settings(latent_dim=2, hidden=(9,)), [0], tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()
