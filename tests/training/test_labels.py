"""Trainings on labels of some data."""

import pytest

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from tests.helpers.command_line import SIZES, run

QUICK = {"epochs": 2, "batch_size": 256, "step": "eager", "device": "cpu", "progress": False}


def system(data, recipe="mixture", components=10, **changes):
    settings = pv.recipes.RECIPES[recipe].small
    prior = f"gaussian-mixture(components={components})"
    return pv.recipes.RECIPES[recipe](data.event_shape, settings, hidden=(32,), latent_dim=4, prior=prior, **changes)


def test_labels_start_the_clusters_and_train_them():
    data = pv.data.hide_labels(pv.data.load("digits", binarize="dynamic"), keep=100)
    model, guide, loss = system(data)
    options = {**QUICK, "epochs": 20, "batch_size": 64, "lr": 3e-3}
    trained = pv.fit(model, guide, data, loss, **options, cluster_epoch=12, labels=True)
    assert trained.history[-1]["log_q_label"] < 0
    assert trained.history[-1]["valid_elbo"] > trained.history[0]["valid_elbo"]
    assert pv.evaluate.classification(model, guide, data).accuracy > 0.6


def test_labels_that_are_no_clusters_are_refused_before_the_training():
    data = pv.data.hide_labels(pv.data.load("digits", binarize="dynamic"), keep=20)
    model, guide, loss = system(data, components=5)
    with pytest.raises(InputError, match="labels of 'y' are -1 to 9: expected 0 to 4, the model's 5 clusters"):
        pv.fit(model, guide, data, loss, **QUICK, labels=True)


def test_the_command_line_keeps_some_labels(tmp_path, capsys):
    out = str(tmp_path / "run")
    flags = ["--epochs", "1", "--cluster-epoch", "0", "--step", "eager", "--labels", "30"]
    assert run("train", "mixture", *SIZES, *flags, "--out", out) == 0
    assert "30 labels of 10 classes, seed 0" in capsys.readouterr().out
    loaded = pv.load_run(out)
    assert (loaded.data.train.y >= 0).sum() == 30
    assert run("evaluate", out, "--device", "cpu", "--num-samples", "50", "--test-size", "2") == 0
    words = "5 nearest neighbors on the same 30 labels of 10 classes"
    assert words in capsys.readouterr().out
    assert run("traverse", out, "--device", "cpu", "--points", "2") == 0
    assert words in (tmp_path / "run" / "levels.md").read_text()
