"""Comparisons in which settings other than the guide vary."""

import csv

import pytest
import torch
import yaml

import pyro_vaes as pv
from pyro_vaes.recipes import Settings
from pyro_vaes.reports.sweep import parse_varied, variants, written
from tests.helpers.command_line import SMALL, run

DATA = pv.data.Data.from_arrays(x_train=torch.rand(60, 4, 4), x_test=torch.rand(12, 4, 4))
SETTINGS = Settings(latent_dim=2, hidden=(8,), epochs=1, batch_size=32, device="cpu")
QUIET = {"num_samples": 20, "images": 0, "progress": False}


@pytest.mark.parametrize(
    "text",
    [
        "prior=standard-normal,vamp-prior(components=2, event_shape=(1, 4, 4))",
        "loss=none,iwae(num_particles=4)",
        "hidden=64-64,128",
        "latent_dim=2,8",
        "weight_norm=true,false",
        "ema=none,0.99",
        "lr=0.001,0.1",
    ],
)
def test_values_are_read_as_they_are_written(text):
    ((name, values),) = parse_varied([text]).items()
    assert parse_varied([written(name, values)]) == {name: values}
    assert len(values) == 2


def test_several_settings_vary_in_every_combination():
    found = variants(SETTINGS, {"lr": [0.1, 0.2], "loss": ["elbo", "iwae"]})
    assert [(each.lr, each.loss) for each in found.values()] == [
        *((0.1, "elbo"), (0.1, "iwae"), (0.2, "elbo"), (0.2, "iwae"))
    ]
    assert variants(SETTINGS, {}) == {"": SETTINGS}


def test_likelihoods_vary_for_the_same_data_alone():
    assert len(variants(SETTINGS, {"likelihood": ["discretized-logistic", "categorical"]})) == 2
    with pytest.raises(pv.InputError, match=r"likelihood=gaussian is for data with .* cannot be compared"):
        variants(SETTINGS, {"likelihood": ["gaussian", "discretized-logistic"]})


def test_each_variant_is_built_and_trained_with_its_own_settings(tmp_path):
    varied = {"prior": ["standard-normal", "gaussian-mixture(components=3)"], "epochs": [1, 2]}
    trials = pv.compare(DATA, ["mean-field"], SETTINGS, [0], tmp_path / "report", vary=varied, **QUIET)
    found = {trial.guide: (type(trial.system.model.prior).__name__, len(trial.history)) for trial in trials}
    assert found == {
        "mean-field prior=standard-normal epochs=1": ("StandardNormal", 1),
        "mean-field prior=standard-normal epochs=2": ("StandardNormal", 2),
        "mean-field prior=gaussian-mixture(components=3) epochs=1": ("GaussianMixture", 1),
        "mean-field prior=gaussian-mixture(components=3) epochs=2": ("GaussianMixture", 2),
    }
    assert "prior=standard-normal,gaussian-mixture(components=3)" in (tmp_path / "report" / "report.md").read_text()
    configs = [yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "report" / "runs").rglob("config.yaml"))]
    assert [(config["prior"], config["epochs"]) for config in configs] == [
        *(("gaussian-mixture(components=3)", 1), ("gaussian-mixture(components=3)", 2)),
        *(("standard-normal", 1), ("standard-normal", 2)),
    ]


def test_what_is_fixed_cannot_vary(tmp_path):
    model = pv.recipes.vae(DATA.event_shape, SETTINGS).model
    guide = pv.guides.MeanField(model, pv.networks.MLPEncoder(DATA.event_shape, hidden=(8,)))
    for guides, varied, more, words in [
        (
            ["mean-field"],
            {"prior": ["standard-normal"]},
            {"model": model},
            "prior cannot vary, since the model is fro",
        ),
        ({"own": (model, guide)}, {"hidden": [(8,)]}, {}, "hidden cannot vary, since own is a pair"),
        (["mean-field"], {"lr": [0.1, 0.1]}, {}, "vary is lr=0.1,0.1: give values, of which none may repeat"),
        (["mean-field"], {"lr": []}, {}, "give values"),
        (["mean-field"], {"lr": [0.1, -1.0]}, {}, "lr is -1"),
    ]:
        with pytest.raises(pv.InputError, match=words):
            pv.compare(DATA, guides, SETTINGS, [0], tmp_path / "report", vary=varied, **QUIET, **more)
    assert not (tmp_path / "report").exists()


def test_a_sweep_on_the_command_line_repeats_from_its_config(here, capsys):
    flags = ["--data", "tiny.npz", *SMALL, "--seeds", "1", "--num-samples", "5", "--diagnose", "0"]
    sweep = ["--vary", "prior=standard-normal,gaussian-mixture(components=2, learn_weights=False)"]
    assert run("compare", *flags, *sweep, "--vary", "lr=1e-3,1e-2", "--out", "one") == 0
    assert "next: pyro-vaes diagnose one/runs/mean-field-prior=" in capsys.readouterr().out
    assert run("compare", "--config", "one/config.yaml", "--out", "two") == 0
    one, two = (
        list(csv.DictReader((here / name / "trials.csv").read_text(encoding="utf-8").splitlines()))
        for name in ("one", "two")
    )
    assert [row["guide"] for row in one] == [
        f"mean-field prior={prior} lr={lr}"
        for prior in ("standard-normal", "gaussian-mixture(components=2, learn_weights=False)")
        for lr in ("0.001", "0.01")
    ]
    assert [row["elbo"] for row in one] == [row["elbo"] for row in two]
    assert run("compare", "--config", "one/config.yaml", "--resume") == 0
