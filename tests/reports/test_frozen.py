"""Guides compared on a frozen model, which no training moves."""

import csv
import re

import pytest
import torch
import yaml
from torch import nn

import pyro_vaes as pv
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import difference, marginal_log_likelihood, mean_interval
from pyro_vaes.recipes import Settings, build_seeded, vae
from pyro_vaes.reports.compare import compare
from pyro_vaes.reports.frozen import frozen, frozen_settings
from pyro_vaes.runs.load_run import load_run
from tests.helpers.arrays import images
from tests.helpers.command_line import SMALL, refused, run
from tests.helpers.hierarchies import ladder

DATA = Data.from_arrays(x_train=images(60, 4, 4), x_test=images(12, 4, 4), name="tiny")
SETTINGS = Settings(latent_dim=2, hidden=(8,), epochs=3, batch_size=32, device="cpu")
QUIET = {"num_samples": 30, "images": 0, "progress": False}
GUIDES = ["mean-field", "laplace"]


def trained():
    """A trained model with batch norm and dropout in its decoder."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Flatten(), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 16))
    decoder.append(nn.Unflatten(-1, (1, 4, 4)))
    model = pv.VAE(pv.networks.BatchApply(decoder), pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
    guide = pv.guides.MeanField(model, pv.networks.MLPEncoder((1, 4, 4), hidden=(8,)))
    pv.fit(model, guide, DATA, epochs=1, batch_size=32, device="cpu", progress=False)
    model.zero_grad()
    return model


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def unmoved(before, model):
    return not [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out, model = tmp_path_factory.mktemp("frozen") / "report", trained()
    before = state(model)
    trials = compare(DATA, GUIDES, SETTINGS, [0, 3], out, model=model, **{**QUIET, "images": 5})
    return out, trials, model, before


# --- the model stays ----------------------------------------------------------------------------------------


def test_the_model_never_moves(report):
    _, trials, model, before = report
    assert all(trial.system.model is model for trial in trials)
    assert unmoved(before, model)
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_the_guides_do(report):
    _, trials, *_ = report
    for first, second in (trials[:2], trials[2:]):
        weights = [dict(trial.system.guide.named_parameters()) for trial in (first, second)]
        assert not [name for name in weights[0] if torch.equal(weights[0][name], weights[1][name])]
        assert first.history[-1]["valid_elbo"] != first.history[0]["valid_elbo"]


def test_a_compiled_step_moves_no_frozen_model():
    model = trained()
    before = state(model)
    guide = pv.guides.MeanField(model, pv.networks.MLPEncoder((1, 4, 4), hidden=(8,)))
    with frozen(model):
        pv.fit(model, guide, DATA, epochs=1, batch_size=32, device="cpu", step="compiled", progress=False)
    assert unmoved(before, model)


def test_a_model_that_was_never_trained_is_not_initialized_either(tmp_path):
    model = build_seeded(vae, DATA.event_shape, SETTINGS, seed=0).model
    before = state(model)
    compare(DATA, GUIDES[:1], SETTINGS, [0], tmp_path, model=model, **QUIET)
    assert unmoved(before, model)
    assert not model.likelihood.initialized


def test_an_interrupt_leaves_the_model_as_it_was():
    model = trained()
    model.decoder.requires_grad_(False)
    required = [weight.requires_grad for weight in model.parameters()]
    with pytest.raises(KeyboardInterrupt), frozen(model):
        raise KeyboardInterrupt
    assert [weight.requires_grad for weight in model.parameters()] == required


# --- the report ---------------------------------------------------------------------------------------------


def test_log_likelihood_is_one_figure(report):
    out, trials, model, _ = report
    expected = marginal_log_likelihood(model, DATA.test.x)
    assert all(torch.equal(trial.measured.marginal.per_datum, expected.per_datum) for trial in trials)
    text = (out / "report.md").read_text()
    assert f"log p(x) of the model: {expected.mean:.2f} ± {expected.stderr:.2f} nats" in text
    assert "- Model: VAE, frozen; the guides alone are trained." in text
    assert "| log p(x) |" not in text
    assert "pPCA" not in text


def test_columns_of_the_csv(report):
    rows = table(report[0] / "report.csv")
    assert list(rows[0])[:11] == [
        *("guide", "log_likelihood", "elbo", "gap", "gap_low", "gap_high", "approximation_gap", "amortization_gap"),
        *("unreliable", "train_seconds", "inference_ms"),
    ]
    assert [row["guide"] for row in rows] == GUIDES
    assert all(row[name] for row in rows for name in list(row)[:11])


def test_gaps_and_differences_have_intervals_over_images_and_seeds(report):
    out, trials, *_ = report
    rows, text = table(out / "report.csv"), (out / "report.md").read_text()
    gaps = torch.stack([trial.measured.gap for trial in trials]).unflatten(0, (2, 2))
    for place, (row, gap) in enumerate(zip(rows, gaps, strict=True)):
        expected = mean_interval(gap)
        figures = [float(row[name]) for name in ("gap", "gap_low", "gap_high")]
        assert figures == pytest.approx([expected.mean, expected.low, expected.high])
        assert f"| {expected.mean:.2f} [{expected.low:.2f}, {expected.high:.2f}] |" in text
        if place:
            assert float(row["difference"]) == pytest.approx(-difference(gap, gaps[0]).mean)
    assert all(row["calibrated"] in ("True", "False") and row["smallest_p"] for row in rows)


def test_pictures_of_a_latent_of_two_dimensions(report):
    out, *_ = report
    pictures = {"gaps", "learning-curves", "posteriors", "reconstructions", "samples"}
    assert {path.stem for path in out.glob("*.png")} == pictures


def test_it_says_what_is_held_equal(tmp_path, report):
    assert "Held equal: the model, the data order and the number of epochs, 3" in (report[0] / "report.md").read_text()
    model = trained()
    for name, options, words in [
        ("patience", {"settings": Settings(**{**vars(SETTINGS), "patience": 2})}, "convergence, each training until"),
        ("time", {"settings": SETTINGS, "minutes": 1e-6}, "and the time, 1e-06 minutes per training"),
    ]:
        trials = compare(DATA, GUIDES[:1], seeds=[0], out=tmp_path / name, model=model, **options, **QUIET)
        text = (tmp_path / name / "report.md").read_text()
        assert f"Held equal: the model, the data order {words}" in text.replace("and convergence", "convergence")
        assert "budget" not in text
    assert len(trials[0].history) == 1  # its time was over


def test_it_ends_with_advice(report):
    text = (report[0] / "report.md").read_text()
    assert re.search(r"^mean-field: (of its gap of|its gap of .* is not distinguishable)", text, re.MULTILINE)


# --- run folders --------------------------------------------------------------------------------------------


@pytest.fixture
def model_run(here):
    assert run("train", "laplace", "--data", "tiny.npz", *SMALL, "--out", "model") == 0
    return here / "model"


def test_the_model_of_a_run_on_the_command_line(model_run, capsys):
    before = load_run(model_run, device="cpu").system.model.state_dict()
    flags = [
        "--model",
        "model",
        "--guides",
        "mean-field,low-rank",
        "--seeds",
        "2",
        "--epochs",
        "2",
        "--num-samples",
        "25",
    ]
    assert run("compare", *flags, "--diagnose", "3", "--device", "cpu") == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert printed[-5:-2] == ["report/report.md", "report/report.csv", "report/trials.csv"]
    assert printed[-2].startswith("next: pyro-vaes diagnose report/runs/")
    assert printed[-1] == "open report/diagnosis.html"
    assert any(line.startswith("| low-rank |") for line in printed)
    config = yaml.safe_load((model_run.parent / "report" / "config.yaml").read_text())
    assert (config["model"], config["patience"], config["epochs"]) == (str(model_run), 10, 2)
    for folder in sorted((model_run.parent / "report" / "runs").iterdir()):
        loaded = load_run(folder, device="cpu")
        assert not [
            name for name, value in loaded.system.model.state_dict().items() if not torch.equal(value, before[name])
        ]
    assert run("compare", "--config", "report/config.yaml", "--resume") == 0


def test_by_default_guides_are_trained_until_they_converge(model_run):
    settings = frozen_settings(model_run)
    assert (settings.epochs, settings.patience, settings.hidden, settings.latent_dim) == (200, 10, (8,), 2)
    assert frozen_settings(model_run, {"patience": 3, "hidden": "16"}).hidden == (16,)
    assert settings.guide is settings.loss is None


def test_resume_keeps_finished_trials_and_refuses_another_model(model_run, tmp_path):
    data, system, *_ = load_run(model_run, device="cpu")
    out = tmp_path / "report"
    first = compare(data, GUIDES[:1], SETTINGS, [0], out, model=system.model, **QUIET)
    estimated = {path: path.stat().st_mtime_ns for path in (out / "log_likelihood").iterdir()}
    again = compare(data, GUIDES[:1], SETTINGS, [0], out, model=system.model, resume=True, **QUIET)
    assert again[0].row == first[0].row
    assert estimated == {path: path.stat().st_mtime_ns for path in (out / "log_likelihood").iterdir()} != {}
    before = state(system.model)
    with torch.no_grad():
        next(system.model.parameters()).add_(1)
    moved = state(system.model)
    with pytest.raises(InputError, match="a trial under a model of other weights"):
        compare(data, GUIDES[:1], SETTINGS, [0], out, model=system.model, resume=True, **QUIET)
    assert unmoved(moved, system.model)
    assert not unmoved(before, system.model)


def test_guides_start_from_the_frozen_models_own_mean_field_guide(here, capsys):
    for seed in ("0", "1"):
        assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--seed", seed, "--out", f"seed{seed}") == 0
    flags = ["--model", "seed0", "--guides", "mean-field", "--seeds", "4,", "--epochs", "1", "--num-samples", "25"]
    flags += ["--lr", "1e-30", "--diagnose", "0"]
    assert run("compare", *flags, "--start", "seed0") == 0
    trained, again = load_run("seed0", device="cpu"), load_run("report/runs/mean-field-seed4", device="cpu")
    assert unmoved(state(trained.system.model), again.system.model)
    assert unmoved(state(trained.system.guide), again.system.guide)
    refused(["compare", *flags, "--start", "seed1", "--out", "other"], capsys, "a guide of another model than")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--latent-dim", "3"], "latent_dim is 3, but the model of model is frozen, with latent_dim 2: leave"),
        (["--likelihood", "bernoulli"], "leave --likelihood out"),
        (["--train-size", "20"], "give the data of the model"),
        (["--minutes", "0"], "minutes is 0"),
        (["--model", "nothing"], "nothing/config.yaml"),
    ],
)
def test_flags_that_would_change_the_model_are_refused(model_run, capsys, flags, words):
    base = ["compare", "--guides", "mean-field", *([] if "--model" in flags else ["--model", "model"])]
    refused([*base, *flags], capsys, words)
    assert not (model_run.parent / "report").exists()


def test_pairs_and_guides_of_other_models_are_refused(tmp_path):
    model, other = trained(), build_seeded(vae, DATA.event_shape, SETTINGS, seed=0)
    hierarchy = ladder()[0]
    for guides, frozen_model, words in [
        ({"pair": other[:2]}, model, "pair is a pair with a model of its own"),
        ({"other": lambda vae, encoder: other.guide}, model, "refers to another VAE than the model"),
        (["mean-field"], hierarchy, "the frozen model is a LadderVAE, which the guide mean-field is not for"),
    ]:
        data = Data.from_arrays(
            x_train=images(60, *frozen_model.event_shape[1:]), x_test=images(12, *frozen_model.event_shape[1:])
        )
        with pytest.raises(InputError, match=words):
            compare(data, guides, SETTINGS, [0], tmp_path / "out", model=frozen_model, **QUIET)
    assert not (tmp_path / "out").exists()


def test_no_module_is_imported_that_the_folder_names(model_run, capsys):
    path = model_run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "likelihood": "own_parts:Own"}))
    (model_run.parent / "own_parts.py").write_text("raise SystemExit('imported')")
    refused(["compare", "--model", "model"], capsys, "a run folder never has a module imported: name it again")


def test_a_prior_that_is_made_of_posteriors_is_refused(tmp_path):
    decoder = pv.networks.MLPDecoder(2, DATA.event_shape, hidden=(8,))
    model = pv.VAE(decoder, pv.priors.VampPrior(2, components=3), pv.likelihoods.Gaussian())
    with pytest.raises(InputError, match="VampPrior is made of its guide's posteriors"):
        compare(DATA, GUIDES, SETTINGS, [0], tmp_path / "out", model=model, **QUIET)
