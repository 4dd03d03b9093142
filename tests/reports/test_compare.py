"""compare: the trials, their report, and what is refused before any training."""

import csv
import importlib
import json
import statistics

import pytest
import torch
import yaml

from pyro_vaes.data import Data
from pyro_vaes.data.split import evenly_spaced
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import difference, marginal_log_likelihood, ppca, rank_ranges
from pyro_vaes.recipes import Settings, build_seeded, vae
from pyro_vaes.reports.compare import compare
from pyro_vaes.reports.measurement import Measurement, measured_rows
from pyro_vaes.training.fit import fit
from pyro_vaes.training.step import EagerStep
from tests.helpers.arrays import images

SMALL = Settings(latent_dim=2, hidden=(8,), epochs=2, batch_size=32)
GUIDES = ["mean-field", "laplace(updates=1)"]
QUIET = {"num_samples": 30, "images": 0, "progress": False}
PER_TRIAL = 4  # gradient steps: 2 epochs of 2


DATA = Data.from_arrays(x_train=images(60, 4, 4), x_test=images(12, 4, 4), name="tiny")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return out, compare(DATA, GUIDES, SMALL, [0, 3], out, **QUIET)


def test_the_report_is_whole(report):
    out, trials = report
    assert [(trial.guide, trial.seed) for trial in trials] == [(guide, seed) for guide in GUIDES for seed in (0, 3)]
    pictures = ["gaps.png", "learning-curves.png", "posteriors.png", "reconstructions.png", "samples.png"]
    assert sorted(path.name for path in out.glob("*.*")) == sorted(
        [*pictures, "config.yaml", "report.csv", "report.md", "trials.csv"]
    )
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    runs = [f"{name}-seed{seed}" for name in ("laplace-updates=1", "mean-field") for seed in (0, 3)]
    assert sorted(path.name for path in (out / "runs").iterdir()) == runs
    config = yaml.safe_load((out / "runs" / "laplace-updates=1-seed3" / "config.yaml").read_text())
    assert (config["recipe"], config["guide"], config["seed"]) == ("vae", "laplace(updates=1)", 3)
    text = (out / "report.md").read_text()
    facts = [*pictures, *GUIDES, DATA.description, "over seeds and 12 images", "seeds 0, 3", "2 epochs", "pPCA"]
    facts += ["ELBO of the guide, 30 samples per image", "as for new seeds and new images"]
    assert not [fact for fact in facts if fact not in text]


def test_the_rows_agree_with_the_trials(report):
    out, trials = report
    rows, summary = table(out / "trials.csv"), table(out / "report.csv")
    assert [row["guide"] for row in summary] == [*GUIDES, "pPCA (exact)"]
    assert list(rows[0]) == list(trials[0].row)
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["log_likelihood"]) == pytest.approx(trial.measured.marginal.per_datum.mean().item())
        assert float(row["gap"]) == pytest.approx(float(row["log_likelihood"]) - float(row["elbo"]))
        assert float(row["importance_bound"]) == pytest.approx(trial.measured.bounds.mean)
        methods = ("importance_sampling", "adaptive_importance_sampling", "annealed_importance_sampling")
        assert sum(int(row[method]) for method in methods) == 12
        assert int(row["best_epoch"]) == trial.row["best_epoch"]
        assert float(row["train_seconds"]) == pytest.approx(sum(epoch["seconds"] for epoch in trial.history))
    for line in summary[:2]:
        own = [row for row in rows if row["guide"] == line["guide"]]
        assert int(line["seeds"]) == len(own) == 2
        for column in ("elbo", "log_likelihood", "gap", "unreliable", "guide_unreliable", "step_ms", "parameters"):
            assert float(line[column]) == pytest.approx(statistics.mean(float(row[column]) for row in own))
        for column in ("log_likelihood", "gap"):
            assert float(line[f"{column}_low"]) < float(line[column]) < float(line[f"{column}_high"])
    exact = ppca(DATA.train.x, DATA.test.x, 2)
    assert float(summary[2]["log_likelihood"]) == pytest.approx(exact.mean)
    assert summary[2]["elbo"] == ""


def test_differences_are_paired_over_images_and_seeds(report):
    out, trials = report
    first, second, _ = table(out / "report.csv")
    assert first["difference"] == ""
    log_p = torch.stack([trial.measured.marginal.per_datum for trial in trials]).unflatten(0, (2, 2))
    expected = difference(log_p[1], log_p[0])
    figures = [float(second[name]) for name in ("difference", "difference_low", "difference_high")]
    assert figures == pytest.approx([expected.mean, expected.low, expected.high])
    assert float(second["degrees_of_freedom"]) == pytest.approx(expected.degrees_of_freedom)
    ranks = rank_ranges(dict(zip(GUIDES, log_p, strict=True)))
    assert [first["rank"], second["rank"]] == list(ranks.values())
    text = (out / "report.md").read_text()
    assert f"| {expected.describe()} | {expected.degrees_of_freedom:.1f} |" in text
    assert " ± " not in text


def test_values_of_each_image_are_kept(report):
    out, trials = report
    kept = Measurement.read(out / "runs" / "mean-field-seed3" / "per_datum.csv", 12, 30)
    for name in ("per_datum", "per_datum_stderr", "pareto_k", "effective_samples"):
        values = getattr(trials[1].measured.marginal, name)
        assert torch.equal(getattr(kept.marginal, name), values.double())
    assert kept.marginal.method == trials[1].measured.marginal.method
    assert torch.equal(kept.bounds.elbo, trials[1].measured.bounds.elbo)
    assert torch.equal(kept.gap, trials[1].measured.gap)


def test_log_likelihood_is_that_of_the_model(report):
    _, trials = report
    for trial in trials[1:3]:
        again = marginal_log_likelihood(trial.system.model, DATA.test.x, seed=9)
        error = (again.per_datum_stderr**2 + trial.measured.marginal.per_datum_stderr**2).sqrt()
        assert ((again.per_datum - trial.measured.marginal.per_datum).abs() < 5 * error + 1e-3).all()


def test_with_one_seed_the_report_says_what_is_not_covered(tmp_path):
    compare(DATA, GUIDES, SMALL, [0], tmp_path, **QUIET)
    assert "over images alone, seeds are not covered" in (tmp_path / "report.md").read_text()
    assert float(table(tmp_path / "report.csv")[1]["degrees_of_freedom"]) == 11


def test_parts_of_the_gap_are_those_of_the_diagnosis(tmp_path):
    trials = compare(DATA, GUIDES, SMALL, [0], tmp_path, **{**QUIET, "images": 5})
    few = evenly_spaced(len(DATA.test), 5)
    guides = json.loads((tmp_path / "diagnosis.json").read_text())["guides"]
    for row, line, trial in zip(guides, table(tmp_path / "report.csv"), trials, strict=False):
        for name in ("approximation_gap", "amortization_gap"):
            assert float(line[name]) == row[name]["mean"]
        assert row["log_likelihood"]["mean"] == pytest.approx(trial.measured.marginal.per_datum[few].mean().item())
    assert "of seed 0 on 5 of the images alone" in (tmp_path / "report.md").read_text()


def test_a_part_of_the_test_split(tmp_path):
    out = tmp_path / "part"
    trials = compare(DATA, GUIDES[:1], SMALL, [0], out, test_size=5, **QUIET)
    assert "5 evenly spaced of 12 images" in (out / "report.md").read_text()
    again = compare(DATA, GUIDES[:1], SMALL, [0], out, test_size=5, resume=True, **QUIET)
    assert again[0].row == trials[0].row
    for other in (6, None):
        with pytest.raises(InputError, match=f"compares with test_size 5, not {other}"):
            compare(DATA, GUIDES[:1], SMALL, [0], out, test_size=other, resume=True, **QUIET)


def test_at_most_500_test_data_are_measured_by_default():
    sizes = {size: Data.from_arrays(x_train=images(20, 2), x_test=images(size, 2)) for size in (1, 2, 501)}
    assert [len(measured_rows(sizes[size], None)) for size in (2, 501)] == [2, 500]
    assert len(measured_rows(sizes[501], 501)) == 501
    with pytest.raises(InputError, match="test_size is 502: expected 2 to 501"):
        measured_rows(sizes[501], 502)
    with pytest.raises(InputError, match="holds one observation"):
        measured_rows(sizes[1], None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\n", "", "0 data, not 12"),
        ("elbo", "bound", "a value is missing, 'elbo'"),
        ("importance sampling", "guessing", "not in tuple"),
        (".", "x", "could not convert"),
    ],
)
def test_damaged_values_are_refused(report, tmp_path, old, new, words):
    path = tmp_path / "per_datum.csv"
    whole = (report[0] / "runs" / "mean-field-seed0" / "per_datum.csv").read_text()
    path.write_text(whole.replace(old, new))
    with pytest.raises(ValueError, match=words):
        Measurement.read(path, 12, 30)


def test_every_guide_starts_from_the_same_decoder():
    settings = [Settings(guide=guide, hidden=(8,)) for guide in ("mean-field", "full-covariance", "laplace")]
    torch.manual_seed(5)
    first, *others = (build_seeded(vae, (1, 4, 4), each, seed=1).model.state_dict() for each in settings)
    for other in others:
        assert not [name for name in first if not torch.equal(first[name], other[name])]
    another = build_seeded(vae, (1, 4, 4), settings[0], seed=2).model.state_dict()
    assert [name for name in first if not torch.equal(first[name], another[name])]


@pytest.mark.parametrize(
    ("data", "settings", "pictures", "baseline"),
    [
        ({"x_train": images(40, 5)}, {"latent_dim": 3}, {"gaps", "learning-curves"}, True),
        ({"x_train": images(40, 5)}, {}, {"gaps", "learning-curves", "posteriors"}, True),
        ({"x_train": images(40, 5)}, {"latent_dim": 6}, {"gaps", "learning-curves"}, False),
        (
            {"x_train": images(12, 4, 4), "x_test": images(9, 4, 4)},
            {"latent_dim": 11},
            {"gaps", "learning-curves", "samples", "reconstructions"},
            False,
        ),
        (
            {"x_train": images(40, 3, 4, 5), "binarize": "threshold", "channels": "first"},
            {"latent_dim": 3, "likelihood": "bernoulli"},
            {"gaps", "learning-curves", "samples", "reconstructions"},
            False,
        ),
    ],
    ids=["vectors", "vectors-2d", "more factors than pixels", "more factors than images", "bernoulli in color"],
)
def test_the_report_fits_the_data(tmp_path, data, settings, pictures, baseline):
    made = Data.from_arrays(**data)
    compare(
        made,
        ["mean-field"],
        Settings(**{"latent_dim": 2, "hidden": (8,), "epochs": 1, **settings}),
        [0],
        tmp_path,
        **QUIET,
    )
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    assert ("pPCA" in (tmp_path / "report.md").read_text()) == baseline


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_ctrl_c_leaves_a_report_on_the_finished_trials(tmp_path, monkeypatch, where):
    import pyro_vaes.reports.measurement as module

    calls = {"training": PER_TRIAL, "evaluation": 1}[where]  # of the first trial; the next one is interrupted
    owner, name = {"training": (EagerStep, "__call__"), "evaluation": (module, "log_likelihood")}[where]
    original = getattr(owner, name)

    def interrupts(*args, **options):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(owner, name, interrupts)
    trials = compare(DATA, GUIDES, SMALL, [0, 1], tmp_path, **QUIET)
    assert [(trial.guide, trial.seed) for trial in trials] == [("mean-field", 0)]
    assert [row["guide"] for row in table(tmp_path / "report.csv")] == ["mean-field", "pPCA (exact)"]


def test_an_existing_report_is_refused_or_replaced(report):
    out, _ = report
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        compare(DATA, GUIDES, SMALL, [0], out, **QUIET)
    assert len(table(out / "trials.csv")) == 4


def test_a_report_is_replaced(tmp_path):
    for guides in (["mean-field"], ["full-covariance"]):
        compare(DATA, guides, SMALL, [0], tmp_path, overwrite=True, **QUIET)
    assert [row["guide"] for row in table(tmp_path / "trials.csv")] == ["full-covariance"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guides": ["mean-field", "laplce"]}, "unknown guide 'laplce': did you mean 'laplace'"),
        ({"guides": ["mean-field", "laplace(update=1)"]}, "laplace has no option 'update': did you mean 'updates'"),
        ({"guides": ["mean-field", "laplace(updates=-1)"]}, "updates is -1"),
        ({"guides": ["mean-field", "mean-field"]}, "none may repeat"),
        ({"guides": []}, "at least one guide"),
        ({"seeds": [1, 1]}, "none may repeat"),
        ({"seeds": []}, "one seed"),
        ({"seeds": [0, -1]}, "seed is -1"),
        ({"settings": Settings(latent_dim=0)}, "latent_dim is 0"),
        ({"settings": Settings(likelihood="bernoulli")}, "Bernoulli needs binary data"),
        ({"settings": Settings(epochs=0)}, "epochs is 0"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"settings": Settings(device="gpu")}, "device 'gpu'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(tmp_path, changes, words):
    call = {"guides": GUIDES, "settings": SMALL, "seeds": [0], "out": tmp_path / "out", **QUIET, **changes}
    with pytest.raises(InputError, match=words):
        compare(DATA, **call)
    assert list(tmp_path.iterdir()) == []


def test_resume_keeps_finished_trials_and_gives_the_same_report(tmp_path, monkeypatch):
    def measured(out, **options):
        trials = compare(DATA, GUIDES, SMALL, (0, 1), out, num_samples=30, images=0, progress=False, **options)
        timed = ("step_ms", "train_seconds", "inference_ms")
        return [{name: value for name, value in trial.row.items() if name not in timed} for trial in trials]

    whole = measured(tmp_path / "whole")
    calls = []
    module = importlib.import_module("pyro_vaes.reports.compare")

    def interrupted(*args, **options):
        calls.append(options["out"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(module, "fit", interrupted)
    assert len(measured(tmp_path / "cut")) == 2
    assert measured(tmp_path / "cut", resume=True) == whole
    assert len(calls) == 5, "a finished trial was trained again"
    with pytest.raises(InputError, match="num_samples 30, not 31"):
        compare(DATA, GUIDES, SMALL, (0, 1), tmp_path / "cut", num_samples=31, images=0, progress=False, resume=True)
