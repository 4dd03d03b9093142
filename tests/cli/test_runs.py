"""train, and what is done with a run: evaluate, sample, resume."""

import json
import os

import pytest
import yaml

from tests.helpers.command_line import SIZES, SMALL, metrics, run
from tests.helpers.training import FILES


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("laplace", []),
        ("vae", ["--guide", "full-covariance"]),
        ("vae", ["--likelihood", "bernoulli"]),
        ("vae", ["--likelihood", "gaussian(scale=0.25, learn=False)", "--seed", "4", "--lr", "0.01"]),
        (
            "vae",
            ["--optimizer", "adamw(weight_decay=0.1)", "--schedule", "cosine", "--clip-norm", "1", "--patience", "2"],
        ),
    ],
)
def test_a_run_repeats_from_its_config_and_is_evaluated(here, capsys, recipe, flags):
    assert run("train", recipe, "--data", "tiny.npz", *SMALL, *flags, "--out", "one") == 0
    assert sorted(path.name for path in (here / "one").iterdir()) == FILES
    printed = capsys.readouterr().out
    assert "the run is in one" in printed
    assert "at epoch 1 of 1, training ELBO there" in printed
    assert "still rising at the last epoch: train longer" in printed
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # the config names the data by a path that holds from anywhere
    assert run("train", "--config", "../one/config.yaml", "--out", "two") == 0
    assert metrics(here / "one") == metrics(elsewhere / "two")
    assert run("train", "--config", "../one/config.yaml", "--out", "three", "--seed", "9") == 0
    assert metrics(here / "one") != metrics(elsewhere / "three")

    capsys.readouterr()
    assert run("evaluate", "two", "--num-samples", "30", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    figures = json.loads((elsewhere / "two" / "evaluation.json").read_text())
    assert figures["split"] == "test"
    assert "30 samples for each of 12 observations" in figures["estimator"]
    assert figures["gap"] == pytest.approx(figures["log_likelihood"] - figures["elbo"])
    assert "marginal log-likelihood of 12 data" in figures["estimator"]
    assert figures["unreliable"] == 0
    assert figures["log_likelihood"] > figures["elbo"]
    assert f"log p(x) {figures['log_likelihood']:.2f}" in printed
    assert f"their bound {figures['importance_bound']:.2f}" in printed
    assert run("evaluate", "two", "--num-samples", "30", "--test-size", "5", "--device", "cpu") == 0
    assert "5 evenly spaced of 12 data of the test split" in capsys.readouterr().out
    assert run("sample", "two", "--n", "5", "--device", "cpu") == 0
    assert run("sample", "two", "--n", "1", "--out", "picture.png") == 0
    for path in (elsewhere / "two" / "samples.png", elsewhere / "picture.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_evaluation_is_that_of_the_trained_weights(here):
    flags = ["--data", "digits", "--train-size", "60", "--lr", "0.02", *SIZES]
    assert run("train", "vae", *flags, "--epochs", "1", "--out", "one") == 0
    assert run("train", "vae", *flags, "--epochs", "30", "--out", "many") == 0
    estimates = []
    for name in ("one", "many"):
        assert run("evaluate", name, "--num-samples", "20") == 0
        estimates.append(json.loads((here / name / "evaluation.json").read_text())["log_likelihood"])
    assert estimates[1] > estimates[0] + 5


def test_resume_takes_another_learning_rate(here):
    flags = ["--data", "tiny.npz", *SMALL]
    folders = [here / name for name in ("same", "other")]
    for folder in folders:
        assert run("train", "vae", *flags, "--lr", "0.001", "--out", folder.name) == 0
    for folder, rate in zip(folders, (0.001, 0.1), strict=True):
        config = f"{folder.name}/config.yaml"
        assert run("train", "--config", config, "--resume", "--epochs", "2", "--lr", str(rate)) == 0
        assert yaml.safe_load((folder / "config.yaml").read_text())["lr"] == rate
    same, other = map(metrics, folders)
    assert same[0] == other[0]
    assert abs(same[1]["valid_elbo"] - other[1]["valid_elbo"]) > 0.1


def test_resume_goes_on_where_the_run_ended(here):
    flags = ["--data", "tiny.npz", *SMALL]
    assert run("train", "vae", "--data", "tiny.npz", *SIZES, "--epochs", "3", "--out", "whole") == 0
    assert run("train", "vae", *flags, "--out", "part") == 0
    assert run("train", "--config", "part/config.yaml", "--epochs", "3", "--resume") == 0
    assert metrics(here / "part") == metrics(here / "whole")
    assert run("train", "vae", *flags, "--out", "part", "--overwrite") == 0
    assert len(metrics(here / "part")) == 1


def test_runs_have_a_folder_by_default(here):
    assert run("train", "laplace", "--data", "tiny.npz", *SMALL) == 0
    assert sorted(path.name for path in (here / "runs" / "laplace-tiny").iterdir()) == FILES


def test_published_settings_are_those_of_the_paper(here):
    assert run("train", "laplace", "--published", "--data", "tiny.npz", "--epochs", "1", "--out", "run") == 0
    config = yaml.safe_load((here / "run" / "config.yaml").read_text())
    assert (config["latent_dim"], config["hidden"], config["lr"], config["epochs"]) == (50, "500,500", 5e-4, 1)


def test_ctrl_c_has_a_status_of_its_own(here, monkeypatch, capsys):
    def interrupts(*_, **__):
        raise KeyboardInterrupt

    flags = ["--data", "tiny.npz", *SMALL, "--out", "run"]
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vaes.training.step.EagerStep.__call__", interrupts)
        assert run("train", "vae", *flags) == 130
        assert "nothing is kept; start again with --overwrite" in capsys.readouterr().out
    assert run("train", "vae", *flags, "--overwrite") == 0
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vaes.training.step.EagerStep.__call__", interrupts)
        assert run("train", "--config", "run/config.yaml", "--resume", "--epochs", "2") == 130
        assert "after epoch 1; go on: pyro-vaes train --config run/config.yaml --resume" in capsys.readouterr().out
    monkeypatch.setattr("pyro_vaes.recipes.load_data", interrupts)
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "other") == 130
    assert capsys.readouterr().err == "pyro-vaes: interrupted\n"
