"""--start: trainings and comparisons that start from the run of a mean-field guide."""

import csv

import pytest
import torch
import yaml

from pyro_vaes import load_run
from tests.helpers.command_line import SMALL, metrics, refused, run

DATA = ["--data", "tiny.npz"]
STILL = ["--lr", "1e-30"]  # moves no weight


@pytest.fixture
def trained(here):
    assert run("train", "vae", *DATA, *SMALL, "--out", "trained") == 0
    return here


def test_train_and_compare_start_from_a_run(trained):
    assert run("train", "vae", *DATA, *SMALL, *STILL, "--guide", "low-rank", "--start", "trained", "--out", "one") == 0
    before, after = (load_run(name, device="cpu") for name in ("trained", "one"))
    x = before.data.test.x
    torch.testing.assert_close(after.system.guide.posterior(x).variance, before.system.guide.posterior(x).variance)
    assert yaml.safe_load((trained / "one" / "config.yaml").read_text())["start"] == str(trained / "trained")
    assert run("train", "--config", "one/config.yaml", "--out", "two") == 0
    assert metrics(trained / "one") == metrics(trained / "two")

    guides = ["--guides", "mean-field,full-covariance", "--seeds", "1", "--diagnose", "0", "--num-samples", "5"]
    assert run("compare", *DATA, *SMALL, *STILL, *guides, "--start", "trained", "--out", "report") == 0
    with (trained / "report" / "trials.csv").open() as file:
        elbos = [float(row["elbo"]) for row in csv.DictReader(file)]
    assert elbos[0] == pytest.approx(elbos[1], rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--start", "nowhere"], "nowhere.config.yaml cannot be read"),
        (["--start", "covariance"], "covariance is a run of the guide FullCovariance: start from one of mean-field"),
        (["--start", "trained", "--hidden", "9"], "encoder to start from has another .*out_features=8.*out_features=9"),
        (
            ["--start", "trained", "--latent-dim", "3"],
            "the start has data of .* and 2 latent .* and 3 latent dimensions",
        ),
        (["--start", "trained", "--data", "digits"], r"the start has data of shape \(1, 4, 4\) .* shape \(1, 8, 8\)"),
        (
            ["--start", "trained", "--likelihood", "bernoulli"],
            r"the model to start from has .*Gaussian\(\) where .*Bern",
        ),
    ],
)
def test_other_runs_are_refused(trained, capsys, flags, words):
    if "covariance" in flags:
        assert run("train", "full-covariance", *DATA, *SMALL, "--out", "covariance") == 0
    names = {flag for flag in flags if flag.startswith("--")}
    kept = [*DATA, *SMALL]
    for name in names & set(kept):
        place = kept.index(name)
        del kept[place : place + 2]
    for command in (["train", "vae"], ["compare", "--guides", "low-rank"]):
        refused([*command, *kept, *flags, "--out", "refused"], capsys, words)
    assert not (trained / "refused").exists()


def test_a_model_that_cannot_start_from_a_run_says_so(trained, capsys):
    refused(["train", "ladder", *DATA, "--epochs", "1", "--start", "trained"], capsys, "cannot start from a mean-field")
